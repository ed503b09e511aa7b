"""Command lookup: the command that a command line names, and its job."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import UserError
from ..suggest import did_you_mean
from .launcher import split_ranks, start_ranks
from .signals import hold_back

if TYPE_CHECKING:
    from .order import Job, LocalJob

COMMANDS = {
    "train": "Train a network on all ranks of a job. This is the default command.",
    "find-lr": "Find a learning rate by a short training in which it grows.",
    "sweep": "Train many times at once with other settings, on groups of ranks.",
    "evaluate": "Score the weights of a finished run.",
    "predict": "Write a finished run's outputs for new samples, as CSV or npz.",
    "serve": "Serve a finished run's model by HTTP.",
    "export": "Write a finished run's model as a folder of Hugging Face.",
    "generate": "Continue texts with a language model.",
    "tokenize": "Train a tokenizer on text.",
    "data": "Show how the columns of a table, or the arrays of any data, are interpreted.",
    "report": "Write a page about runs: curves, settings, times, faults, mistakes.",
    "watch": "Show a run while it trains, in a browser or in the terminal.",
    "runs": "List, show, compare, export and delete the runs of a database.",
    "profile": "List what the steps of a profiled run spend their time on.",
    "scale": "Measure how training gets faster with more ranks, and predict it for more.",
    "plan": "Recommend a mesh for a model on a machine, and say why.",
    "submit": "Write a job script for Slurm, PBS, LSF or Kubernetes, or submit it.",
    "collective": "List, show, check, price, draw, record and measure collective algorithms.",
    "pipeline": "List, show, check, price and draw pipeline schedules.",
    "parallel": "List and check the moves, the communication inside a network.",
    "kernel": "List, build, check and measure the kernels.",
    "course": "Start a lab on collective algorithms or on pipelines.",
    "doctor": "Examine the ranks of a job before training on them.",
    "completion": "Print a script that lets a shell complete commands and options.",
}
"""Each command and what it does; its module (``find_lr``) has a ``parse(argv, speaks)`` that returns a job."""
FAMILIES = ("runs", "data", "collective", "pipeline", "parallel", "profile", "kernel", "submit", "course")
"""Commands that have commands of their own; their modules have a dict SUBCOMMANDS."""
HELP = ("-h", "--help")


def parse_command(argv: list[str], rank: int) -> "Job | LocalJob":
    """Return the job that ``argv`` asks for; with a leading ``-n N``, replace this process by mpirun.

    Help and the version are printed on rank 0 and end the process with SystemExit.

    Raises
    ------
    UserError
        If there is no such command (a near one is suggested), or if its options are wrong.
    """
    ranks, argv = split_ranks(argv)
    job = _parse(argv, rank)
    if ranks is not None:
        start_ranks(ranks, argv, job)
    return job


def _parse(argv: list[str], rank: int) -> "Job | LocalJob":
    """Return the job that ``argv`` asks for; only the module of its command is imported, so that --help is quick."""
    if argv == ["--version"]:
        if rank == 0:
            print(f"mpitrain {__version__}")
        raise SystemExit(0)
    if argv and argv[0] == "help":
        argv = [*argv[1:], "--help"]
    if argv and not argv[0].startswith("-"):
        command, rest = argv[0], argv[1:]
    else:
        command, rest = "train", argv
        if rank == 0 and any(word in HELP for word in argv):
            print_commands()
    if command not in COMMANDS:
        raise UserError(f"there is no command {command!r}{_suggest(command)}; there are {', '.join(COMMANDS)}")
    if command == "train":
        hold_back()
    parse: Callable[[list[str], bool], Job | LocalJob] = module_of(command).parse
    return parse(rest, rank == 0)


def module_of(command: str) -> Any:
    """Return the module of a command."""
    return importlib.import_module(f".{command.replace('-', '_')}", __package__)


def print_commands() -> None:
    """Print all commands, one per line."""
    from ..training.display.text_table import Column, print_table
    from .terminal import make_console

    console = make_console()
    console.say("usage: mpitrain [-n RANKS] [COMMAND] [OPTIONS]")
    console.print()
    rows = [(f"  {name}", text) for name, text in COMMANDS.items()]
    print_table(console, [Column("", "word", "bold"), Column("", "text")], rows, head=False)
    console.print()
    console.say("mpitrain COMMAND --help explains a command. -n starts so many ranks by mpirun.")
    console.print()


def _suggest(word: str) -> str:
    """Return suggestions for an unknown command: a similar name, or a subcommand of that name."""
    families = {name: module_of(name).SUBCOMMANDS for name in FAMILIES}
    inside = [f"{name} {word}" for name, own in families.items() if word in own]
    if inside:
        return f" (did you mean {' or '.join(map(repr, inside))}?)"
    return did_you_mean(word, COMMANDS)
