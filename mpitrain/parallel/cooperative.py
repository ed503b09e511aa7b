"""Cooperative threads: pieces of work that take turns in one process and meet in sums over all of them.

Each runs in a thread of its own until it asks for a sum or ends; then the next one runs. So at any time one thread
works, the pieces come in the same order everywhere, and only the caller's thread talks to other ranks.
"""

import threading
from collections.abc import Callable, Sequence

import numpy as np

Sum = Callable[[Sequence[np.ndarray]], np.ndarray]


class CooperativeThreads:
    """Runner of pieces of work that take turns.

    Parameters
    ----------
    total : callable(list of array) -> array
        Function that adds up the arrays of all pieces; called in the caller's thread.
    """

    def __init__(self, total: Sum):
        self._total = total
        self._turns: list[_Turn] = []

    @property
    def running(self) -> bool:
        """True while work is in progress."""
        return bool(self._turns)

    def run(self, works: Sequence[Callable[[], None]], between: Callable[[], None]) -> None:
        """Run all ``works`` to their ends; ``between`` is called after every turn."""
        self._turns = [_Turn(work) for work in works]
        try:
            while any(not turn.ended for turn in self._turns):
                for turn in self._turns:
                    turn.resume()
                    between()
                waiting = [turn.array for turn in self._turns if turn.array is not None]
                if waiting:
                    total = self._total(waiting)
                    for array in waiting:
                        array[...] = total
        finally:
            self._turns = []

    def sum(self, array: np.ndarray) -> None:
        """Sum ``array`` over all pieces of work, in place; each calls it the same number of times."""
        turn = next(turn for turn in self._turns if turn.thread is threading.current_thread())
        turn.pause(array)


class _Turn:
    def __init__(self, work: Callable[[], None]):
        self._work = work
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self.array: np.ndarray | None = None
        self.ended = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def resume(self) -> None:
        """Run the piece of work up to its next sum, or its end."""
        self.array = None
        self._go.release()
        self._back.acquire()
        if self._error is not None:
            raise self._error

    def pause(self, array: np.ndarray) -> None:
        """Wait for the sum, in the thread of the piece of work."""
        self.array = array
        self._back.release()
        self._go.acquire()

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._work()
        except BaseException as error:
            self._error = error
        self.ended = True
        self._back.release()
