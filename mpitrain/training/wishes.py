"""What somebody outside wants of a run: by signals, by the clock, by an option."""

from typing import NamedTuple


class Wishes(NamedTuple):
    """Asked of one rank; when any rank wishes something, all do it after the same step."""

    stop: bool = False
    """Stop, evaluate, write weights and report (Ctrl-C)."""
    leave: bool = False
    """Write a checkpoint and leave at once, to be started again (SIGTERM, SIGUSR1, the end of the time)."""
    save: bool = False
    """Write a checkpoint and go on (SIGUSR2)."""


def nothing() -> Wishes:
    """Return no wishes."""
    return Wishes()
