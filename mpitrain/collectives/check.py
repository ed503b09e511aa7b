"""Checker of schedules by provenance: every chunk must end with the required contributions, exactly once.

Instead of numbers, the messages carry sets of contributions, which reveals errors that a test with numbers can miss
(two errors that cancel, a chunk that is empty at this length). The checker also verifies that there is no deadlock
without buffering, that no chunk is sent and overwritten at once, that both ends of a message match, and that there are
no more rounds, bytes and additions than promised.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ScheduleError, UserError
from .algorithm import Algorithm, make_algorithm
from .provenance import Provenance
from .step import Schedule

ROUNDING = 1e-9


@dataclass(frozen=True)
class Checked:
    """Measured costs of a schedule that passed the check, for one P.

    Attributes
    ----------
    size, rounds : int
        P, and the number of messages on the longest path.
    sent, reduced : float
        Bytes that the busiest rank sends and adds, in multiples of n.
    """

    size: int
    rounds: int
    sent: float
    reduced: float


def check(algorithm: Algorithm | Schedule, max_ranks: int, checked: Callable[[int], object] = lambda size: None) -> str:
    """Check ``algorithm`` for every P from 1 (from root + 1) to ``max_ranks``, and return a report.

    Parameters
    ----------
    algorithm : Algorithm or Schedule
    max_ranks : int
    checked : callable(P), optional
        Called after each P.

    Raises
    ------
    ScheduleError
        With P, and the rank, chunk and round of the first error.
    UserError
        If its root is not among ``max_ranks`` ranks.
    """
    algorithm = make_algorithm(algorithm)
    if algorithm.root >= max_ranks:
        raise UserError(f"{algorithm.name} needs at least {algorithm.root + 1} ranks: check it for that many")
    found = []
    for size in range(algorithm.root + 1, max_ranks + 1):
        found.append(check_for(algorithm, size))
        checked(size)
    return report(algorithm, found)


def check_for(algorithm: Algorithm | Schedule, size: int) -> Checked:
    """Check ``algorithm`` for P = ``size`` only."""
    algorithm = make_algorithm(algorithm)
    try:
        measured = Provenance(algorithm, size).run()
        share = algorithm.chunk_share(size)
        found = Checked(size, measured.rounds, max(measured.sent) * share, max(measured.reduced) * share)
        _hold_to_promise(algorithm, found)
    except ScheduleError as error:
        raise type(error)(f"P = {size}: {error}") from None
    return found


def check_all_reduce(schedule: Algorithm | Schedule, max_ranks: int) -> None:
    """Check an all-reduce for every P from 1 to ``max_ranks``."""
    check(schedule, max_ranks)


def _hold_to_promise(algorithm: Algorithm, found: Checked) -> None:
    for name, measured, unit in (
        ("rounds", found.rounds, "rounds"),
        ("bytes", found.sent, "n bytes sent"),
        ("reductions", found.reduced, "n additions"),
    ):
        promise = getattr(algorithm, name)
        promised = None if promise is None else promise(found.size)
        if promised is not None and not measured <= promised + ROUNDING:
            line = getattr(promise, "line", None)
            where = f" (line {line})" if line else ""
            raise ScheduleError(f"{promised:g} {unit} are promised{where}, but it takes {measured:g}")


def report(algorithm: Algorithm, found: list[Checked]) -> str:
    """Return the report on a schedule that passed."""
    least = f"{found[0].size} <= " if found[0].size > 1 else ""
    lines = [
        f"{algorithm.name}: checked for {least}P <= {found[-1].size}",
        f"{algorithm.goal.sentence};",
        "no deadlock though nothing is buffered; no chunk sent and overwritten at once; all messages fit",
    ]
    promised = "" if algorithm.rounds is None else " as promised"
    lines.append(f"rounds, bytes and additions{promised} (of the busiest rank; n is the length of its buffer):")
    lines.append(f"{'P':>5}{'rounds':>9}{'sent / n':>11}{'added / n':>12}")
    lines += [f"{c.size:>5}{c.rounds:>9}{c.sent:>11.3f}{c.reduced:>12.3f}" for c in found]
    return "\n".join(lines)
