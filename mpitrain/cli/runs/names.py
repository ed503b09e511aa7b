"""``mpitrain runs list``: a line for each run of a database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from ...errors import UserError
from ...json_text import to_json
from ...monitor.runs import Record, as_json, check_names, order, select
from ..options import parse_options
from ..order import LocalJob
from ..terminal import make_console
from .reading import FileOptions, reading
from .values import say_of

if TYPE_CHECKING:
    from ...training.display.text_table import Column

DESCRIPTION = "List the runs of a database: mpitrain runs list --where 'state=finished,model=mlp*' --sort best."
COLUMNS = ("id", "name", "state", "epoch", "step", "begun", "best")
LONG = ("name", "path", "model", "data")  # what may be shortened on a terminal
WORDS = ("begun", "updated", "ended", "best")  # numbers that are shown as words


@dataclass(frozen=True, kw_only=True)
class ListOptions(FileOptions):
    """Options of list."""

    where: Annotated[str, arg(metavar="CONDITION,...")] = ""
    """Conditions, all of which a run must fulfil: facts, settings or scores compared by =, !=, <, <=, > or >=, as in
    state=finished,model=mlp*,lr>=0.01,test/accuracy>0.9; the wildcards are * and ?."""
    sort: Annotated[str, arg(metavar="COLUMN")] = ""
    """Fact, setting or score that gives the order, as in best or lr; by default the order in which the runs began."""
    reverse: bool = False
    """List in the reverse order."""
    limit: int = 0
    """Number of runs at most: the first ones of --sort, or the newest without it; 0 for all."""
    columns: Annotated[str, arg(metavar="COLUMN,...")] = ""
    """Facts, settings and scores to show, as in id,name,lr,test/accuracy."""
    json: bool = False
    """Print the runs as JSON, with all values or those of --columns."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(ListOptions, argv, command="runs list", description=DESCRIPTION, speaks=speaks)
    if options.limit < 0:
        raise UserError(f"--limit is {options.limit}, but must be 0 or more")
    return LocalJob(lambda: show(options))


def show(options: ListOptions) -> int:
    """Print the table, or JSON."""
    with reading(options.file) as (_, runs):
        found = _chosen(runs, options)
    columns = list(filter(None, (name.strip() for name in options.columns.split(","))))
    check_names(runs, columns)
    if options.json:
        records = map(as_json, found)
        print(to_json([{name: run.get(name) for name in columns} if columns else run for run in records]))
    elif found:
        _print_table(found, columns or COLUMNS)
    else:
        make_console().say(
            f"no run of {options.file} fulfils the conditions" if runs else f"{options.file} has no runs"
        )
    return 0


def _chosen(runs: Sequence[Record], options: ListOptions) -> list[Record]:
    """Return the runs to list, in their order."""
    found = select(runs, options.where)
    if options.sort:
        found = order(found, options.sort, reverse=options.reverse)
        return found[: options.limit or None]
    found = found[-options.limit :]
    return found[::-1] if options.reverse else found


def _print_table(runs: Sequence[Record], names: Sequence[str]) -> None:
    from ...training.display.text_table import print_table

    rows = [[say_of(run, name) for name in names] for run in runs]
    print_table(make_console(), [_column(name, runs) for name in names], rows)


def _column(name: str, runs: Sequence[Record]) -> "Column":
    from ...training.display.text_table import Column

    if name in LONG:
        return Column(name, "name")
    values = [run[name] for run in runs if run.get(name) is not None]
    are_numbers = name not in WORDS and all(isinstance(value, int | float) for value in values)
    return Column(name, "number" if are_numbers else "word")
