"""``mpitrain runs show``: everything about one run that fits a screen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ...monitor.runs import Record, find_runs, read_evaluations, settings_of
from ...plain_text import count
from ..options import parse_options
from ..order import LocalJob
from ..terminal import make_console
from .reading import FileOptions, read_records, reading
from .values import say, say_of, title

if TYPE_CHECKING:
    from ...training.display.console import PlainConsole

DESCRIPTION = "Show the state of a run, its settings that are not the defaults, evaluations, faults and checkpoints."
MOST_ROWS = 20  # of evaluations and of faults; export has all
NOT_SHOWN = ("speed", "seconds")  # of evaluations, which must fit 80 columns


@dataclass(frozen=True, kw_only=True)
class ShowOptions(FileOptions):
    """Options of show."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """The id of a run in the list, its directory, or the name of that."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(ShowOptions, argv, command="runs show", description=DESCRIPTION, speaks=speaks)
    return LocalJob(lambda: show(options))


def show(options: ShowOptions) -> int:
    """Print the facts, then the tables that have rows."""
    with reading(options.file) as (connection, runs):
        (run,) = find_runs(runs, [options.run])
        evaluations = read_evaluations(connection, run)
        faults, checkpoints = (read_records(connection, name, run) for name in ("faults", "checkpoints"))
    console = make_console()
    for line in _facts(run):
        console.say(line)
    _print_settings(console, run)
    _print_evaluations(console, run, evaluations)
    _print_faults(console, run, faults)
    if checkpoints:
        console.print()
        console.say(_say_checkpoints(run, checkpoints))
    return 0


def _facts(run: Record) -> Iterator[str]:
    """Yield a line for each group of facts."""
    yield f"{title(run)}, {run['state']}"
    if run["reason"]:
        yield run["reason"]
    parameters = "" if run["parameters"] is None else f", {count(run['parameters'], 'parameter')}"
    yield f"{say('', run['model'])} on {say('', run['data'])}{parameters}"
    ranks = "" if run["ranks"] is None else f"{count(run['ranks'], 'rank')} on "
    yield ", ".join(
        filter(None, (f"{ranks}{say('', run['host'])}", run["device"], run["mpi"], f"mpitrain {run['version']}"))
    )
    ended = f", ended {say('ended', run['ended'])}" if run["ended"] else f", last sign {say('updated', run['updated'])}"
    yield f"begun {say('begun', run['begun'])}{ended}"
    of_all = f" of {run['steps']}" if run["steps"] else ""
    time = "" if run["seconds"] is None else f", {say_of(run, 'seconds')}"
    speed = "" if run["speed"] is None else f", {say_of(run, 'speed')} samples/s"
    yield f"{run['step']}{of_all} steps in epoch {run['epoch']}{time}{speed}"
    if run["best"] is not None:
        yield f"best {say_of(run, 'best')} ({run['best/split']}, step {run['best/step']})"
    if run["path"]:
        yield run["path"]


def _print_settings(console: "PlainConsole", run: Record) -> None:
    from ...training.display.text_table import Column, print_table

    settings = settings_of(run)
    rows = [(f"--{name}", say(name, value)) for name, value in settings.items() if name not in run["defaults"]]
    if rows:
        console.print()
        print_table(console, [Column("", "word"), Column("", "text")], rows, head=False)


def _print_evaluations(console: "PlainConsole", run: Record, evaluations: Sequence[Record]) -> None:
    from ...training.display.text_table import Column, print_table

    names = [name for name in dict.fromkeys(key for one in evaluations for key in one) if name not in NOT_SHOWN]
    shown = evaluations[-MOST_ROWS:]
    if shown:
        console.print()
        columns = [Column(name.replace("/", " ")) for name in names]  # a terminal breaks heads between words
        print_table(console, columns, [[say_of(one, name) for name in names] for one in shown])
    _say_more(console, run, len(evaluations) - len(shown), "evaluation")


def _print_faults(console: "PlainConsole", run: Record, faults: Sequence[Record]) -> None:
    from ...training.display.text_table import Column, print_table

    shown = faults[-MOST_ROWS:]
    if shown:
        console.print()
        rows = [(str(fault["step"]), fault["kind"], fault["text"]) for fault in shown]
        print_table(console, [Column("step"), Column("fault", "word"), Column("", "text")], rows)
    _say_more(console, run, len(faults) - len(shown), "fault")


def _say_more(console: "PlainConsole", run: Record, number: int, what: str) -> None:
    """Say how many earlier rows are not shown, and which command has them."""
    if number:
        command = f"mpitrain runs export {run['id']} --table {what}s"
        console.say(f"{count(number, f'earlier {what}')} not shown: {command}")


def _say_checkpoints(run: Record, checkpoints: Sequence[Record]) -> str:
    """Return the steps of the checkpoints, and which of them the run's directory still has."""
    from ...training.directory.run_directory import CHECKPOINTS

    folder = Path(run["path"] or "") / CHECKPOINTS
    kept = [one for one in checkpoints if run["path"] and (folder / one["file"]).exists()]
    if len(kept) == len(checkpoints):
        which = "all are kept"
    else:
        which = f"kept: {_say_steps(kept)}" if kept else "none is kept"
    return f"checkpoints after steps {_say_steps(checkpoints)}; {which}"


def _say_steps(checkpoints: Sequence[Record]) -> str:
    steps = [str(one["step"]) for one in checkpoints]
    return ", ".join(steps if len(steps) <= MOST_ROWS else [steps[0], "...", *steps[-MOST_ROWS + 1 :]])
