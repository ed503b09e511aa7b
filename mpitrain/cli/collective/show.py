"""``mpitrain collective show``: one algorithm, round by round, in the terminal."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from ...errors import UserError
from ..options import parse_options
from ..order import LocalJob
from ..terminal import make_console
from .wrong import warn_of_wrong

DEFAULT_WIDTH = 100  # where the output is not a terminal
DESCRIPTION = "Show what an algorithm does, round by round, and what it promises."


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Options of show."""

    algorithm: Annotated[Positional[str], arg(metavar="ALG")]
    """A name of list, with options (chain:segments=4), or FILE.py:FUNC."""
    ranks: Annotated[int, arg(aliases=["-n"])] = 4
    """Number of ranks."""
    width: int = 0
    """Columns of the tables; 0 takes those of the terminal, or 100."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(ShowOptions, argv, command="collective show", description=DESCRIPTION, speaks=speaks)
    if options.ranks < 1:
        raise UserError(f"-n is {options.ranks}, but must be at least 1")
    return LocalJob(lambda: show(options))


def show(options: ShowOptions) -> int:
    """Print the algorithm's tables; the exit code is 1 if it is wrong."""
    from ...collectives import find
    from ...collectives.draw.ascii import draw_ascii, draw_steps
    from ...collectives.draw.play import is_drawable, play

    algorithm, size = find(options.algorithm), options.ranks
    console = make_console()
    for line in (algorithm.summary, f"Source: {algorithm.source}" if algorithm.source else ""):
        if line:
            console.say(line)
    if algorithm.rounds and algorithm.bytes and algorithm.reductions:
        rounds, sent, added = algorithm.rounds(size), algorithm.bytes(size), algorithm.reductions(size)
        console.say(
            f"Promised for P = {size}: {rounds:g} rounds; the busiest rank sends {sent:.4g} n and adds {added:.4g} n"
        )
    if not is_drawable(algorithm, size):
        wrong = warn_of_wrong([options.algorithm], size, "steps of a wrong algorithm")
        print("\n" + draw_steps(algorithm, size))
        return 1 if wrong else 0
    played = play(algorithm, size)
    width = options.width or (console.width if console.is_terminal else DEFAULT_WIDTH)
    print("\n" + draw_ascii(played, width))
    return 1 if played.error else 0
