"""``mpitrain submit pbs``: a job of PBS that submits itself again with a checkpoint."""

import shlex
from dataclasses import dataclass

from ...errors import UserError
from ..options import parse_options
from ..order import LocalJob
from . import shell
from .deliver import STANDARD_OUTPUT, Delivery, deliver, file_of
from .options import QueueOptions, check_queue, hours
from .program import Program, read_program, split_program

DESCRIPTION = "Write a job script for PBS, or submit it: mpitrain submit pbs --nodes 2 -- train OPTIONS."
QUEUE = shell.Queue("pbs", "#PBS", "${MPITRAIN_JOB:-${PBS_JOBID%%[.[]*}}", "$task")
ENDING = "pbs.sh"


@dataclass(frozen=True, kw_only=True)
class PbsOptions(QueueOptions):
    """Options of submit pbs."""

    launcher: str = shell.MPIRUN
    """Command that starts the ranks, before -n RANKS."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    own, words = split_program(argv)
    options = parse_options(PbsOptions, own, command="submit pbs", description=DESCRIPTION, speaks=speaks)
    check_queue(options)
    program = read_program(words, options)
    if program.resumes and options.requeue and options.script == STANDARD_OUTPUT:
        raise UserError(
            "a job of PBS continues by submitting its file again: name one as --script, or add --no-requeue"
        )
    submit = ("qsub", *(("-J", shell.array(program, options.at_most)) if program.values else ()), "{file}")
    made = Delivery("PBS", ENDING, script(options, program, argv), submit)
    return LocalJob(lambda: deliver(options, made))


def script(options: PbsOptions, program: Program, argv: list[str]) -> str:
    """Return the job script."""
    return shell.join(
        shell.head(QUEUE, _directives(options), options, argv),
        'cd "$PBS_O_WORKDIR" || exit',
        shell.environment(options, QUEUE),
        "task=${MPITRAIN_TASK:-$PBS_ARRAY_INDEX}" if program.values else "",
        shell.by_mpirun(options, options.launcher),
        shell.staging(options),
        shell.run(program, options, QUEUE),
        _again(options, program) if program.resumes and options.requeue else "",
        "exit $code",
    )


def _directives(options: PbsOptions) -> list[str]:
    """Return options of qsub, without -J, which would make an array of a job that continues."""
    ranks, cores = options.ranks_per_node, options.ranks_per_node * options.cores
    gpus = f":ngpus={ranks}" if options.gpus else ""
    given = {"-q": options.partition, "-A": options.account}
    return [
        f"-N {options.name}",
        f"-l select={options.nodes}:ncpus={cores}:mpiprocs={ranks}:ompthreads={options.cores}{gpus}",
        *([f"-l walltime={hours(options.seconds)}"] if options.seconds else []),
        *(f"{name} {value}" for name, value in given.items() if value),
        f"-r {'y' if options.requeue or options.array else 'n'}",  # PBS has no arrays with n
    ]


def _again(options: PbsOptions, program: Program) -> str:
    """Return the lines that submit the script again, for the same directory; qrerun is for operators of PBS only."""
    names = "MPITRAIN_JOB,MPITRAIN_TASK" if program.values else "MPITRAIN_JOB"
    values = ' MPITRAIN_TASK="$task"' if program.values else ""
    return (
        f"if [ $code -eq {program.exit_code} ]; then\n"
        f'    export MPITRAIN_JOB="$job"{values}\n'
        f"    qsub -v {names} {shlex.quote(str(file_of(options, ENDING)))}\nfi"
    )
