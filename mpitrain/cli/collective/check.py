"""``mpitrain collective check``: check an algorithm for every number of ranks up to N."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from ...errors import UserError
from ..options import parse_options
from ..order import LocalJob
from ..progress import Progress

DESCRIPTION = "Check an algorithm for every number of ranks up to N: sums, deadlocks, data races, promises."


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Options of check."""

    algorithm: Annotated[Positional[str], arg(metavar="ALG|FILE.py:FUNC")]
    """A name of list, with options (chain:segments=4), or FILE.py:FUNC for one of your own."""
    max_ranks: int = 17
    """Largest P; every P from 1 on is checked."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(CheckOptions, argv, command="collective check", description=DESCRIPTION, speaks=speaks)
    if options.max_ranks < 1:
        raise UserError(f"--max-ranks is {options.max_ranks}, but must be at least 1")
    return LocalJob(lambda: check_one(options))


def check_one(options: CheckOptions) -> int:
    """Print the checks that passed; raise the first error found."""
    from ...collectives import ScheduleError, check, find

    algorithm = find(options.algorithm)
    progress = Progress("collective check")
    progress.begin_quietly(f"every P up to {options.max_ranks:,}", options.max_ranks**3 / 3)
    try:
        report = check(algorithm, options.max_ranks, lambda size: progress.step(size * size))
    except ScheduleError as error:
        progress.end()
        raise UserError(f"{options.algorithm} is wrong for {error}") from None
    progress.end()
    print(report)
    return 0
