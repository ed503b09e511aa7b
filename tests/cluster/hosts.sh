#!/usr/bin/env bash
# Hosts on one machine: network namespaces that a bridge joins. A command on a host has a network, a host name, processes,
# shared memory and temporary files of its own, so that MPI takes no short cut between hosts. Files are shared.
#   hosts.sh missing                 why there can be no hosts here, in one line; nothing if there can
#   hosts.sh up N                    make mpt1 to mptN, with the addresses 10.78.0.1 to N
#   hosts.sh on HOST COMMAND ...     run a command on a host
#   hosts.sh rsh [OPTIONS] HOST ...  the same, called as ssh is
#   hosts.sh cut|join HOST           take its cable out, or plug it in
#   hosts.sh down                    end what runs on the hosts, and remove them
set -euo pipefail
SWITCH=mptsw

missing() {
    if [ "$(id -u)" != 0 ]; then
        echo "making network namespaces needs root"
    elif ! command -v ip >/dev/null || ! command -v nsenter >/dev/null; then
        echo "there is no ip or nsenter (on Debian: apt install iproute2 util-linux)"
    elif ! unshare -n -u -i -m -p --fork true 2>/dev/null || ! ip netns add mptest 2>/dev/null; then
        echo "this machine allows no network namespaces (in a container: CAP_SYS_ADMIN and CAP_NET_ADMIN)"
    elif ! ip -n mptest link add v1 type veth peer name v2 2>/dev/null; then
        echo "this machine allows no virtual network devices (in a container: CAP_NET_ADMIN)"
    fi
    ip netns del mptest 2>/dev/null || true
}

up() {
    ip netns add $SWITCH
    ip -n $SWITCH link add br0 type bridge
    ip -n $SWITCH link set br0 up
    for i in $(seq "$1"); do
        mkdir -p "/etc/netns/mpt$i"
        { echo "127.0.0.1 localhost"; for j in $(seq "$1"); do echo "10.78.0.$j mpt$j"; done; } >"/etc/netns/mpt$i/hosts"
        ip netns add "mpt$i"
        ip -n "mpt$i" link add eth0 type veth peer name "v$i" netns $SWITCH
        ip -n $SWITCH link set "v$i" master br0 up
        ip -n "mpt$i" addr add "10.78.0.$i/24" dev eth0
        ip -n "mpt$i" link set eth0 up
        ip -n "mpt$i" link set lo up
    done
}

on() {
    local host=$1
    shift
    # shellcheck disable=SC2016 # the shell on the host expands it
    exec nsenter --net="/run/netns/$host" unshare -u -i -m -p --fork --kill-child --mount-proc sh -c '
        hostname "$0"
        mount --bind "/etc/netns/$0/hosts" /etc/hosts
        mount -t tmpfs tmpfs /dev/shm
        mkdir /dev/shm/tmp
        export TMPDIR=/dev/shm/tmp
        exec "$@"' "$host" "$@"
}

rsh() {
    while [[ $1 == -* ]]; do
        case $1 in -o | -l | -p | -i) shift 2 ;; *) shift ;; esac
    done
    local host=$1
    shift
    on "$host" /bin/bash -c "$*"
}

down() {
    for name in $(ip netns list | grep -o '^mpt[0-9]*\b'; echo $SWITCH); do
        ip netns pids "$name" 2>/dev/null | xargs -r kill -9 || true
        ip netns del "$name" 2>/dev/null || true
        rm -rf "/etc/netns/$name"
    done
}

case ${1:-} in
missing | up | on | rsh | down) "$@" ;;
cut) ip -n $SWITCH link set "v${2#mpt}" down ;;
join) ip -n $SWITCH link set "v${2#mpt}" up ;;
*)
    echo "usage: hosts.sh missing | up N | on HOST COMMAND ... | rsh HOST COMMAND | cut HOST | join HOST | down" >&2
    exit 2
    ;;
esac
