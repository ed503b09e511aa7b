#!/usr/bin/env bash
# A Slurm of two nodes on the hosts of hosts.sh, for tests; nothing of it stays on the machine.
#   slurm.sh missing   what there must be first, in one line; nothing if all is there
#   slurm.sh up DIR    start it, with all of its files in DIR, and wait for its nodes; it ends with the hosts
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
PMIX=/usr/lib/x86_64-linux-gnu/pmix2/lib

missing() {
    local program
    for program in sbatch srun slurmctld slurmd munged mungekey; do
        if ! command -v "$program" >/dev/null; then
            echo "there is no $program (on Debian: apt install --no-install-recommends slurm-wlm munge libpmix2)"
            return
        fi
    done
    "$here/hosts.sh" missing
}

up() {
    local dir=$1 node
    mkdir -p "$dir"/{state,spool/mpt1,spool/mpt2}
    chmod 755 "$dir"
    sed "s|@DIR@|$dir|" "$here/slurm.conf.in" >"$dir/slurm.conf"
    export SLURM_CONF=$dir/slurm.conf
    if [ -d $PMIX ]; then # Debian's Slurm loads libpmix.so, a name that only a package for developers has
        cp -a $PMIX "$dir/pmix"
        ln -sf libpmix.so.2 "$dir/pmix/libpmix.so"
    fi
    export PMIX_MCA_psec=native
    mungekey --create --keyfile "$dir/munge.key"
    "$here/hosts.sh" on mpt1 munged --foreground --force --key-file "$dir/munge.key" --socket "$dir/munge.socket" \
        --pid-file "$dir/munge.pid" --seed-file "$dir/munge.seed" >"$dir/munge.log" 2>&1 &
    for _ in {1..100}; do
        if [ -S "$dir/munge.socket" ]; then break; fi
        sleep 0.1
    done
    "$here/hosts.sh" on mpt1 slurmctld -D -c >"$dir/slurmctld.out" 2>&1 &
    for node in mpt1 mpt2; do
        # shellcheck disable=SC2016 # the shell on the host expands it
        "$here/hosts.sh" on $node sh -c 'if [ -d "$1" ]; then mount --bind "$1" "$2"; fi; exec slurmd -D -N "$0"' \
            $node "$dir/pmix" $PMIX >"$dir/slurmd.$node.out" 2>&1 &
    done
    for _ in {1..100}; do
        if [ "$("$here/hosts.sh" on mpt1 sinfo -h -p low -o %t,%D 2>/dev/null || true)" = idle,2 ]; then return; fi
        sleep 0.2
    done
    echo "the nodes of Slurm are not ready after 20 s: see $dir/*.log" >&2
    exit 1
}

case ${1:-} in
missing | up) "$@" ;;
*)
    echo "usage: slurm.sh missing | up DIR" >&2
    exit 2
    ;;
esac
