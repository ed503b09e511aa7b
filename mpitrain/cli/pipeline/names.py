"""``mpitrain pipeline list``: list the pipeline schedules, with their bubble and memory."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from ...errors import UserError
from ..options import parse_options
from ..order import LocalJob
from ..terminal import make_console

DESCRIPTION = "List the pipeline schedules, with their options, bubble and memory."


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Options of list."""

    ranks: Annotated[int, arg(aliases=["-n"])] = 4
    """Number of ranks for bubble and memory."""
    microbatches: Annotated[int, arg(aliases=["-m"])] = 8
    """Number of microbatches for bubble and memory."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(ListOptions, argv, command="pipeline list", description=DESCRIPTION, speaks=speaks)
    for flag, value in (("-n", options.ranks), ("-m", options.microbatches)):
        if value < 1:
            raise UserError(f"{flag} is {value}, but must be at least 1")
    return LocalJob(lambda: show(options))


def show(options: ListOptions) -> int:
    """Print one line for each schedule."""
    from ...pipelines import PIPELINES, check_for, find
    from ...training.display.text_table import Column, print_table

    rows = []
    for name, chosen, summary in PIPELINES.rows():
        text = f"{name}:{chosen}" if chosen else name
        found = check_for(find(text), options.ranks, options.microbatches)
        rows.append((text, f"{found.bubble:.1%}", f"{max(found.live):.3g}", summary))
    console = make_console()
    columns = [Column("schedule", "word"), Column("bubble"), Column("held"), Column("", "text")]
    print_table(console, columns, rows)
    console.print()
    console.say(
        f"bubble: idle part of the time, and held: microbatches that a rank holds at most, with {options.ranks} ranks, "
        f"{options.microbatches} microbatches and equal stages; also FILE.py:FUNC"
    )
    return 0
