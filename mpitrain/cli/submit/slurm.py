"""``mpitrain submit slurm``: a job of Slurm that is requeued with a checkpoint."""

from dataclasses import dataclass
from typing import Literal

from ...errors import UserError
from ..options import parse_options
from ..order import LocalJob
from . import shell
from .deliver import Delivery, deliver
from .options import QueueOptions, check_queue, hours
from .program import Program, read_program, split_program

DESCRIPTION = "Write a job script for Slurm, or submit it: mpitrain submit slurm --nodes 2 -- train OPTIONS."
QUEUE = shell.Queue("slurm", "#SBATCH", "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}", "$SLURM_ARRAY_TASK_ID", tells_end=True)
END_TIME = """\
end=$(date -d "$(squeue -h -j "$SLURM_JOB_ID" -o %e)" +%s 2>/dev/null || true)
export SLURM_JOB_END_TIME=${SLURM_JOB_END_TIME:-$end} # Slurm 22.05 does not tell it"""
SBCAST = """\
sbcast --force "$packed" "$local.tar" || exit # to a disk of each node
rm "$packed"
packed=$local.tar
"""


@dataclass(frozen=True, kw_only=True)
class SlurmOptions(QueueOptions):
    """Options of submit slurm."""

    launcher: Literal["auto", "pmi2", "pmix", "srun", "mpirun"] = "auto"
    """Program that starts the ranks: srun with --mpi=pmi2 (MPICH) or --mpi=pmix (Open MPI), srun with Slurm's default,
    or mpirun; auto takes what fits the MPI library of this Python."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    own, words = split_program(argv)
    options = parse_options(SlurmOptions, own, command="submit slurm", description=DESCRIPTION, speaks=speaks)
    check_queue(options)
    program = read_program(words, options)
    text = script(options, program, argv)
    return LocalJob(lambda: deliver(options, Delivery("Slurm", "slurm.sh", text, ("sbatch", "{file}"))))


def script(options: SlurmOptions, program: Program, argv: list[str]) -> str:
    """Return the job script."""
    ends = "exit $code"
    if program.resumes and options.requeue:
        ends = f'if [ $code -eq {program.exit_code} ]; then scontrol requeue "$SLURM_JOB_ID"; fi\n{ends}'
    return shell.join(
        shell.head(QUEUE, _directives(options, program), options, argv),
        shell.environment(options, QUEUE),
        END_TIME,
        _starts(options),
        shell.staging(options, SBCAST),
        shell.run(program, options, QUEUE),
        ends,
    )


def _directives(options: SlurmOptions, program: Program) -> list[str]:
    """Return options of sbatch; the ranks are told by a signal two minutes before the end."""
    to_shell = "B:" if options.launcher == "mpirun" else ""
    given = {
        "partition": options.partition,
        "account": options.account,
        "time": options.seconds and hours(options.seconds),
        "gpus-per-node": options.gpus * options.ranks_per_node,
        "array": program.values and shell.array(program, options.at_most),
    }
    return [
        f"--job-name={options.name}",
        f"--nodes={options.nodes} --ntasks-per-node={options.ranks_per_node} --cpus-per-task={options.cores}",
        *(f"--{name}={value}" for name, value in given.items() if value),
        f"--open-mode=append {f'--requeue --signal={to_shell}USR1@120' if options.requeue else '--no-requeue'}",
    ]


def _starts(options: SlurmOptions) -> str:
    """Return the function that starts the ranks."""
    kind = options.launcher if options.launcher != "auto" else _fitting(options)
    if kind == "mpirun":
        return shell.by_mpirun(options)
    protocol = f"--mpi={kind} " if kind in ("pmi2", "pmix") else ""
    return f'ranks() {{ srun {protocol}--cpus-per-task={options.cores} "$@"; }}'


def _fitting(options: SlurmOptions) -> str:
    """Return the protocol of srun that fits the MPI library of this Python, or srun if that is not known."""
    from ..launcher import family

    if options.container or options.python:
        return "srun"
    try:
        from ...comm.start import library_name
    except (ImportError, RuntimeError, UserError):  # no library on this machine
        return "srun"
    return {"MPICH": "pmi2", "Open MPI": "pmix"}.get(family(library_name()) or "", "srun")
