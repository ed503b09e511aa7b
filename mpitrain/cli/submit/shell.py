"""Parts of a job script for bash that all batch systems share."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from .options import QueueOptions, leave_after
from .program import Program, quote

MPIRUN = "mpirun"
OWN_MPIRUN = """\
mpirun=$(dirname "$python")/mpirun # one that was installed with this Python fits its MPI library
if [ ! -x "$mpirun" ]; then mpirun=mpirun; fi
"""
RANKS = """\
export PRTE_MCA_hwloc_default_binding_policy=none # Open MPI would bind each rank to one core
ranks() {{
    {start} "$@" &
    local started=$! code
    trap 'kill -USR1 $started 2>/dev/null' USR1 TERM # the ranks leave with a checkpoint
    wait $started
    code=$?
    while kill -0 $started 2>/dev/null; do # a signal ends a wait
        wait $started
        code=$?
    done
    return $code
}}
"""
STAGING = """\
# Python on a disk of each node: the first rank of a node unpacks it, the others wait
unpack='
if mkdir "$0" 2>/dev/null; then
    if tar -xf "$1" -C "$0"; then touch "$0/.unpacked"; else touch "$0/.failed"; fi
fi
until [ -e "$0/.unpacked" ]; do
    if [ -e "$0/.failed" ]; then exit 1; fi
    sleep 0.1
done
shift
exec "$@"'
prefix=$("$python" -c 'import sys; print(sys.prefix)')
source=$("$python" -c 'import os, mpitrain; print(os.path.dirname(mpitrain.__path__[0]))')
local={folder}/mpitrain-python-$job-$$-$RANDOM
packed=$PWD/.mpitrain-python-$job-$$.tar
tar -cf "$packed" -C "$prefix" . && tar -rhf "$packed" -C "$source" mpitrain || exit
{broadcast}export PYTHONPATH=$local${{PYTHONPATH:+:$PYTHONPATH}}
"""
UNSTAGING = """
ranks rm -rf "$local" "$local.tar" 2>/dev/null
rm -f "$packed\""""


@dataclass(frozen=True)
class Queue:
    """A batch system, in the words of its job scripts.

    Attributes
    ----------
    name, directive : str
    job : str
        Number of the job, that of all jobs together for an array.
    task : str
        Number of a job of an array, from 0.
    tells_end : bool
        True if mpitrain knows the end of a job, so that no --max-time is needed.
    """

    name: str
    directive: str
    job: str
    task: str
    tells_end: bool = False


def head(queue: Queue, directives: Sequence[str], options: QueueOptions, argv: Sequence[str]) -> str:
    """Return the first lines of a script: its directives, and the command that has written it."""
    lines = [f"{queue.directive} {one}" for one in (*directives, *options.directive)]
    written = quote(["mpitrain", "submit", queue.name, *argv]).split("\n")
    return "\n".join(["#!/bin/bash", *lines, "# Written by", *(f"#     {line.strip()}" for line in written), ""])


def environment(options: QueueOptions, queue: Queue) -> str:
    """Return the lines that load modules, run the user's own commands, and name the interpreter and the job."""
    modules = [f"module load {shlex.quote(name)}" for name in options.module]
    return "\n".join([*modules, *options.setup, f"python={shlex.quote(options.interpreter)}", f"job={queue.job}"])


def by_mpirun(options: QueueOptions, launcher: str = MPIRUN) -> str:
    """Return the function that starts the ranks by ``launcher -n RANKS``, and passes on signals to the shell."""
    own = launcher == MPIRUN and not options.container
    start = '"$mpirun"' if own else quote(shlex.split(launcher))
    return (OWN_MPIRUN if own else "") + RANKS.format(start=f"{start} -n {options.ranks}")


def staging(options: QueueOptions, broadcast: str = "") -> str:
    """Return the lines that pack Python into a file that all nodes read; ``broadcast`` copies it to their disks."""
    return STAGING.format(folder=shlex.quote(options.stage_to), broadcast=broadcast) if options.stage else ""


def run(program: Program, options: QueueOptions, queue: Queue) -> str:
    """Return the lines that run ``program`` on all ranks, and leave its exit code in ``code``."""
    before, words = [], [quote(program.words)]
    if options.host_mpi:
        folder = shlex.quote(options.host_mpi)
        before.append(f"libmpi=$(find -L {folder} -name libmpi.so.12 -o -name libmpi.so.40 | head -n 1)")
    if program.resumes and (options.requeue or program.values):
        out = shlex.quote(program.out) if program.out else f'"runs/{options.name}-$job"'
        before.append(f"out={out}" + (f'/"{queue.task}"' if program.values else ""))
        words.append('--out "$out"')
    if program.resumes and options.requeue:
        words[-1] += " --resume auto"
        if options.seconds and not queue.tells_end and not program.max_time:
            words.append(f"--max-time {leave_after(options)}s")
    if program.values:
        before.append(f"values=({quote(program.values)})")
        words.append(f'{program.option} "${{values[{queue.task}]}}"')
    started = " \\\n    ".join([f"ranks {_interpreter(options)} -m mpitrain", *words])
    return "\n".join([*before, started, "code=$?"]) + (UNSTAGING if options.stage else "")


def _interpreter(options: QueueOptions) -> str:
    """Return the words before ``-m mpitrain``: Python, in a container or unpacked on the node."""
    if options.stage:
        return 'sh -c "$unpack" "$local" "$packed" "$local/bin/python"'
    if not options.container:
        return '"$python"'
    words = ["apptainer", "exec", "--bind", '"$PWD"', *(["--nv"] if options.gpus else [])]
    if options.host_mpi:
        words += ["--bind", shlex.quote(options.host_mpi), "--env", '"MPI4PY_LIBMPI=$libmpi"']
    return " ".join([*words, shlex.quote(options.container), '"$python"'])


def array(program: Program, at_most: int) -> str:
    """Return the numbers of the jobs of an array, from 0, and how many may run at the same time."""
    return f"0-{len(program.values) - 1}" + (f"%{at_most}" if at_most else "")


def join(*parts: str) -> str:
    """Return the parts of a script that are not empty, one after the other."""
    return "\n".join(part for part in parts if part) + "\n"
