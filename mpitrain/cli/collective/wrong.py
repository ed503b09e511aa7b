"""Warning about a user's algorithm that is used without a full check."""

import sys
from collections.abc import Iterable

from ...errors import UserError

MOST_RANKS = 8  # an algorithm is tried for every P up to here,
MOST_AT_ONCE = 128  # and for the P in question if that is no larger


def warn_of_wrong(names: Iterable[str], size: int, consequence: str) -> dict[str, str]:
    """Check the user's algorithms among ``names`` for a few P, and print errors on standard error.

    Parameters
    ----------
    names : iterable of str
    size : int
        P, the number of ranks in question.
    consequence : str
        The consequence of an error, for the message.

    Returns
    -------
    dict of str to str
        Errors by name.

    Raises
    ------
    UserError
        If one does not end: nothing can be read from it.
    """
    from ...collectives import EndlessError, ScheduleError, check_for, find

    wrong: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if ".py:" not in name:
            continue
        algorithm = find(name)
        sizes = {*range(algorithm.root + 1, min(size, MOST_RANKS) + 1), *([size] if size <= MOST_AT_ONCE else [])}
        try:
            for some in sorted(sizes):
                check_for(algorithm, some)
        except EndlessError as error:
            raise UserError(f"{name} is wrong for {error}") from None
        except ScheduleError as error:
            wrong[name] = str(error)
            print(f"mpitrain: {consequence}: {name} is wrong for {error}", file=sys.stderr, flush=True)
    return wrong
