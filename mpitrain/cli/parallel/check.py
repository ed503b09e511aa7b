"""``mpitrain parallel check``: check on the ranks of the job that backward of every move is its adjoint."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from ...errors import AgreedError, UserError
from ...plain_text import count
from ..options import parse_options
from ..order import Job
from ..terminal import make_console

if TYPE_CHECKING:
    from ...comm.group import Group
    from ...comm.world import World
    from ...parallel.moves.cases import Case
    from ...parallel.moves.check import Checked

DESCRIPTION = (
    "Check moves, or a layer of your own, by inner products: mpirun -n 4 python -m mpitrain parallel check mine.py:Own."
)
MOST_ELEMENTS = 1 << 24


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Options of check."""

    moves: Annotated[Positional[tuple[str, ...]], arg(metavar="MOVE|FILE.py:CLASS")] = ()
    """Names of list, or FILE.py:CLASS for a move or a layer of your own; by default all of list."""
    shape: str = "4x6"
    """Shape of the array of all ranks together, for a class of your own."""
    seed: int = 0
    """Seed of the random lengths and arrays."""
    cases: bool = False
    """Print every case, instead of one line for each move."""


def parse(argv: list[str], speaks: bool) -> Job:
    """Return the job that ``argv`` asks for."""
    options = parse_options(CheckOptions, argv, command="parallel check", description=DESCRIPTION, speaks=speaks)
    if options.seed < 0:
        raise UserError(f"--seed is {options.seed}, but must be at least 0")
    _read_shape(options.shape)
    return Job("parallel check", options, lambda world: run(options, world))


def _read_shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(x\d+)*", text):
        raise UserError(f"--shape is {text!r}, but must be lengths such as 4x6")
    shape = tuple(map(int, text.split("x")))
    if math.prod(shape) > MOST_ELEMENTS:
        raise UserError(f"--shape is {text}, more than {MOST_ELEMENTS:,} elements")
    return shape


def run(options: CheckOptions, world: "World") -> int:
    """Check with all ranks; rank 0 prints."""
    from ...parallel.moves.check import check_adjoint, moves_in
    from ...parallel.moves.registry import BUILT_IN

    group = world.group("data")
    found: dict[str, list[tuple[Case, Checked]]] = {}
    names = list(dict.fromkeys(options.moves or BUILT_IN))
    with group.together():
        made = {name: list(_cases(name, options, group)) for name in names}
    for name, cases in made.items():
        own = "" if name in BUILT_IN else name
        found[name] = []
        for case in cases:
            checked = check_adjoint(case.layer, case.shape, group, seed=options.seed, name=own)
            found[name].append((case, checked))
            for move in moves_in(case.layer):
                move.free()
    if world.rank == 0:
        _print_table(options, found, world.size)
    for name, checks in found.items():
        for case, checked in checks:
            if not checked.passed:
                raise AgreedError(f"{name}{case.name and f' ({case.name})'} is wrong: {checked.why}")
    return 0


def _cases(name: str, options: CheckOptions, group: "Group") -> "Iterator[Case]":
    from ...parallel.moves.cases import Case, cases_of
    from ...parallel.moves.registry import BUILT_IN, MOVES

    if name in BUILT_IN:
        yield from cases_of(name, group, options.seed)
    else:
        yield Case("", MOVES.make(name, group), _read_shape(options.shape))


def _print_table(options: CheckOptions, found: "dict[str, list[tuple[Case, Checked]]]", size: int) -> None:
    from ...training.display.text_table import Column, Row, print_table

    rows: list[Row | None] = []
    for name, checks in found.items():
        if options.cases:
            rows += [None] if rows else []
            rows += [(name, case.name, _say_shape(case.shape), *_figures(one, one.error)) for case, one in checks]
        else:
            rows.append((name, str(len(checks)), *_figures(checks[0][1], max(one.error for _, one in checks))))
    cases = [Column("case", "word"), Column("shape", "word")] if options.cases else [Column("cases")]
    console = make_console()
    columns = [Column("move", "name"), *cases, *map(Column, ("relative error", "messages", "bytes"))]
    print_table(console, columns, rows, title=f"<F x, dy> = <x, F* dy> in float64 on {count(size, 'rank')}")
    console.print()
    if size == 1:
        console.say("one rank has nothing to communicate, so this shows little: start more with mpirun -n 4", "yellow")
    first = "" if options.cases else ", in the first case"
    console.say(f"messages and bytes: sent by the busiest rank in forward and backward{first}")


def _figures(checked: "Checked", error: float) -> tuple[str, str, str]:
    return f"{error:.1e}", f"{checked.messages:,}", f"{checked.bytes_sent:,}"


def _say_shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
