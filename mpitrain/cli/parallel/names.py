"""``mpitrain parallel list``: list the moves, with their adjoints."""

import inspect
from dataclasses import dataclass

from ..options import parse_options
from ..order import LocalJob
from ..terminal import make_console

DESCRIPTION = "List the moves: layers that only communicate, each with its adjoint."


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Options of list."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    parse_options(ListOptions, argv, command="parallel list", description=DESCRIPTION, speaks=speaks)
    return LocalJob(show)


def show() -> int:
    """Print one line for each move."""
    from ...parallel.moves.registry import BUILT_IN
    from ...training.display.text_table import Column, print_table

    rows = []
    for name, kind in BUILT_IN.items():
        summary = (inspect.getdoc(kind) or "").partition("\n")[0]
        rows.append((name, f"{kind.inputs} to {kind.outputs}", kind.adjoint, summary))
    console = make_console()
    columns = [Column("move", "word"), Column("x to y", "word"), Column("backward", "word"), Column("", "text")]
    print_table(console, columns, rows)
    console.print()
    console.say(
        "one: the array is the same on all ranks; parts: each rank has its own. "
        "mpirun -n 4 python -m mpitrain parallel check tests them; also FILE.py:CLASS"
    )
    return 0
