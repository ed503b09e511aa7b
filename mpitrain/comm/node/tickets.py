"""Numbers that the ranks of a node draw, each of them once: a counter in shared memory."""

from collections.abc import Iterator
from typing import Any

from .window_all_reduce import Window


class Tickets:
    """Deals the numbers 0 to count - 1 to the ranks that ask for them, in the order in which they ask.

    A rank draws by one atomic addition (MPI_Fetch_and_op) in the memory of rank 0, and waits for nobody. The counter
    only grows: every rank draws one number too many in a deal, so that all know where the next deal begins.

    Parameters
    ----------
    comm : MPI.Comm
        Ranks of one node; all of them make the tickets together.
    """

    def __init__(self, comm: Any):
        self._window, self._size = Window(comm, 8), comm.size
        self._first = 0

    def deal(self, count: int) -> Iterator[int]:
        """Yield the numbers below ``count`` that this rank draws.

        All ranks begin a deal together and take all that they get; nobody begins the next one before all have ended
        this one.
        """
        first = self._first
        self._first += count + self._size
        while (number := self._window.fetch_and_increment() - first) < count:
            yield number
