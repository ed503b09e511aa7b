"""``mpitrain pipeline check``: check a schedule for all numbers of ranks and microbatches up to a bound."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from ...errors import UserError
from ..options import parse_options
from ..order import LocalJob
from ..progress import Progress

DESCRIPTION = "Check a pipeline schedule: every task once, its order, deadlocks, memory and bubble as promised."


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Options of check."""

    pipeline: Annotated[Positional[str], arg(metavar="PIPELINE|FILE.py:FUNC")]
    """A name of list, with options (interleaved:chunks=4), or FILE.py:FUNC for one of your own."""
    max_ranks: int = 8
    """Largest P; every P from 1 on is checked."""
    max_microbatches: int = 16
    """Largest M; every M from 1 on is checked, also those below P."""
    ranks: Annotated[int, arg(aliases=["-n"])] = 0
    """Check this P only; 0 checks all."""
    microbatches: Annotated[int, arg(aliases=["-m"])] = 0
    """Check this M only; 0 checks all."""


def parse(argv: list[str], speaks: bool) -> LocalJob:
    """Return the job that ``argv`` asks for."""
    options = parse_options(CheckOptions, argv, command="pipeline check", description=DESCRIPTION, speaks=speaks)
    for flag, value in (("--max-ranks", options.max_ranks), ("--max-microbatches", options.max_microbatches)):
        if value < 1:
            raise UserError(f"{flag} is {value}, but must be at least 1")
    for flag, value in (("-n", options.ranks), ("-m", options.microbatches)):
        if value < 0:
            raise UserError(f"{flag} is {value}, but must be at least 1")
    return LocalJob(lambda: check_one(options))


def check_one(options: CheckOptions) -> int:
    """Print the checks that passed; raise the first error found."""
    from ...pipelines import ScheduleError, check, find
    from ...pipelines.check import report

    pipeline = find(options.pipeline)
    sizes = [options.ranks] if options.ranks else range(1, options.max_ranks + 1)
    counts = [options.microbatches] if options.microbatches else range(1, options.max_microbatches + 1)
    progress = Progress("pipeline check")
    progress.begin_quietly(f"{len(sizes) * len(counts):,} cases", sum(sizes) * sum(counts))
    try:
        found = check(pipeline, sizes, counts, lambda one: progress.step(one.size * one.num_microbatches))
    except ScheduleError as error:
        raise UserError(f"{options.pipeline} is wrong for {error}") from None
    finally:
        progress.end()
    print(report(pipeline, found))
    return 0
