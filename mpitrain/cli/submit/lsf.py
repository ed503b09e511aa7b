"""``mpitrain submit lsf``: a job of LSF that is requeued with a checkpoint."""

from dataclasses import dataclass

from ..options import parse_options
from ..order import LocalJob
from . import shell
from .deliver import Delivery, deliver
from .options import QueueOptions, check_queue
from .program import Program, read_program, split_program

DESCRIPTION = "Write a job script for LSF, or submit it: mpitrain submit lsf --nodes 2 -- train OPTIONS."
QUEUE = shell.Queue("lsf", "#BSUB", "$LSB_JOBID", "$((LSB_JOBINDEX - 1))")


@dataclass(frozen=True, kw_only=True)
class LsfOptions(QueueOptions):
    """Options of submit lsf."""

    launcher: str = shell.MPIRUN
    """Command that starts the ranks, before -n RANKS."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    own, words = split_program(argv)
    options = parse_options(LsfOptions, own, command="submit lsf", description=DESCRIPTION, speaks=speaks)
    check_queue(options)
    made = Delivery("LSF", "lsf.sh", script(options, read_program(words, options), argv), ("bsub",), reads_input=True)
    return LocalJob(lambda: deliver(options, made))


def script(options: LsfOptions, program: Program, argv: list[str]) -> str:
    """Return the job script; LSF itself requeues a job that exits with one of the codes of -Q."""
    return shell.join(
        shell.head(QUEUE, _directives(options, program), options, argv),
        shell.environment(options, QUEUE),
        shell.by_mpirun(options, options.launcher),
        shell.staging(options),
        shell.run(program, options, QUEUE),
        "exit $code",
    )


def _directives(options: LsfOptions, program: Program) -> list[str]:
    """Return options of bsub: -W is in minutes, and the signal comes two minutes before."""
    minutes = -(-options.seconds // 60)
    limits = f'"span[ptile={options.ranks_per_node}] affinity[core({options.cores})]"'
    given = {
        "-W": minutes and f"{minutes // 60}:{minutes % 60:02}",
        "-q": options.partition,
        "-P": options.account,
        "-gpu": options.gpus and f'"num={options.ranks_per_node}"',
        "-Q": program.resumes and options.requeue and f'"{program.exit_code}"',
    }
    return [
        f"-J {_name(options, program)}",
        f"-n {options.ranks}",
        f"-R {limits}",
        *(f"{name} {value}" for name, value in given.items() if value),
        f"-o {options.name}.%J{'.%I' if program.values else ''}.out",
        "-r" if options.requeue else "-rn",
    ]


def _name(options: LsfOptions, program: Program) -> str:
    limit = f"%{options.at_most}" if options.at_most else ""
    return f'"{options.name}[1-{len(program.values)}]{limit}"' if program.values else options.name
