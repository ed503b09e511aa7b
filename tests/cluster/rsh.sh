#!/usr/bin/env bash
# ssh for the hosts of hosts.sh, for launchers that take the path of one program.
exec "$(dirname "$(readlink -f "$0")")/hosts.sh" rsh "$@"
