"""Rank 0's messages to the other ranks: a thread that is the only one to use the mailbox."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from ..comm.mailbox import Mailbox, nap
from .jobs import Lost, Reply

LAST_SECONDS = 5.0  # in which the ranks take the last messages


class Courier(threading.Thread):
    """Carries jobs to other ranks, and their replies to the event loop.

    It sleeps while there is nothing to carry, and looks for replies only while some are expected.

    Parameters
    ----------
    mailbox : Mailbox
    deliver : callable(Reply or Lost)
        Called in this thread.
    """

    def __init__(self, mailbox: Mailbox, deliver: Callable[[Reply | Lost], Any]):
        super().__init__(name="mpitrain-courier", daemon=True)
        self._mailbox, self._deliver = mailbox, deliver
        self._out: queue.SimpleQueue[tuple[Any, int, bool]] = queue.SimpleQueue()
        self._expected = 0
        self._told: frozenset[int] = frozenset()
        self._ends = False

    def send(self, item: Any, rank: int, *, expects: bool = False) -> None:
        """Send ``item`` to another rank; for any thread.

        Parameters
        ----------
        expects : bool
            Whether that rank will reply.
        """
        self._out.put((item, rank, expects))

    def end(self) -> None:
        """End when all is sent; for any thread."""
        self._out.put((None, -1, False))

    def run(self) -> None:
        """Carry messages until ``end``."""
        since = time.monotonic()
        while not self._ends:
            busy = self._expected or not self._mailbox.is_idle
            if self._hand_over(nap(time.monotonic() - since) if busy else None) or self._take_replies():
                since = time.monotonic()
        deadline = time.monotonic() + LAST_SECONDS
        while not self._mailbox.is_idle and time.monotonic() < deadline:
            self._mailbox.poll()
            time.sleep(nap(0.0))

    def _hand_over(self, seconds: float | None) -> bool:
        """Send what is there to be sent, or wait for it; return False if there was nothing."""
        try:
            item, rank, expects = self._out.get(timeout=seconds)
        except queue.Empty:
            return False
        if rank < 0:
            self._ends = True
        else:
            self._mailbox.send(item, rank)
            self._expected += expects
        return True

    def _take_replies(self) -> bool:
        found = False
        while (message := self._mailbox.poll()) is not None:
            reply: Reply = message[1]
            self._expected -= not reply.piece
            self._deliver(reply)
            found = True
        if self._mailbox.lost != self._told:
            self._told = self._mailbox.lost
            self._deliver(Lost(self._told))
        return found
