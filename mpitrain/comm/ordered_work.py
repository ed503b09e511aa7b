"""Pieces of work that ranks take as they are free, whose results reach rank 0 in order."""

import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from mpi4py import MPI

from .group import Group

RESULT, NUMBER = 1, 2  # tags
HEADER = struct.Struct("<qq")  # the number of a piece, and whether it was done
NONE = -1
CREDIT = 2  # pieces that a rank has at a time: it begins the next one while its result travels
WINDOW = 4  # pieces for each rank that may lie between the first one whose result is not taken and the last one dealt
FIRST_NAP, LONGEST_NAP = 5e-5, 2e-3  # seconds

Take = Callable[[bytes | memoryview], None]


class OrderedWork:
    """Numbers from 0 to count - 1, each dealt to one rank; rank 0 takes the results in the order of numbers.

    A rank gets another number for each result, so that faster ranks do more. Rank 0 works, too, and deals in ``poll``:
    it calls that often. What results it holds is limited, since numbers are dealt up to a distance from the first
    result that is missing.

    Parameters
    ----------
    group : Group
        All of its ranks make the work together.
    count : int
    take : callable(bytes)
        Called on rank 0 with each result.

    Attributes
    ----------
    done : int
        Pieces that this rank has done.
    error : Exception or None
        Raised by ``take``, on rank 0: the work ends as after ``fail``.

    Examples
    --------
    >>> from mpi4py import MPI
    >>> found = []
    >>> work = OrderedWork(Group(MPI.COMM_SELF, "data"), 3, lambda result: found.append(bytes(result)))
    >>> for number in work:
    ...     work.put(number, b"piece %d" % number)
    >>> found
    [b'piece 0', b'piece 1', b'piece 2']
    """

    def __init__(self, group: Group, count: int, take: Take) -> None:
        self._group, self._count, self._take = group, count, take
        self._comm = MPI.Intracomm(group._comm.Dup())
        self.rank, self.size, self.done = group.rank, group.size, 0
        self._mine = deque(number for number in self._first(self.rank) if number < count)
        self._replies = 0  # numbers that rank 0 still owes this rank
        self._sent: list[tuple[Any, np.ndarray]] = []
        self._failed = False
        self.error: Exception | None = None
        # of rank 0
        self._ready: dict[int, bytes | memoryview] = {}
        self._next_taken, self._next_dealt = 0, min(count, CREDIT * self.size)
        self._owners = {n: rank for rank in range(self.size) for n in self._first(rank) if n < count}
        self._waiting: deque[int] = deque()  # ranks that get a number as soon as results are taken

    def _first(self, rank: int) -> range:
        return range(rank, CREDIT * self.size, self.size)

    def __iter__(self) -> Iterator[int]:
        """Yield numbers, and get ``put`` or ``fail`` for each; at the end rank 0 has taken all results."""
        while True:
            if not self._mine:
                self._wait_for_number()
            if not self._mine:
                break
            number = self._mine.popleft()
            if self._failed:
                self._give(number, b"", False)
            else:
                yield number
        self._finish()

    def put(self, number: int, result: bytes | memoryview) -> None:
        """Give the result of a piece."""
        self.done += 1
        self._give(number, result, True)

    def fail(self, number: int) -> None:
        """Give a piece up: no more are dealt, and no result from this one on is taken."""
        self._failed = True
        self._give(number, b"", False)

    @property
    def failed(self) -> bool:
        """True if a rank has given a piece up, on that rank and on rank 0."""
        return self._failed

    def poll(self) -> None:
        """Take in messages without waiting for any."""
        self._sent = [(request, data) for request, data in self._sent if not request.Test()]
        if self.rank == 0:
            status = MPI.Status()
            while (message := self._comm.Improbe(MPI.ANY_SOURCE, RESULT, status)) is not None:
                data = np.empty(status.Get_count(MPI.BYTE), np.uint8)
                message.Recv([data, MPI.BYTE])
                number, done = HEADER.unpack_from(data.data)
                self._receive(number, data.data[HEADER.size :], bool(done), status.Get_source())
            return
        while self._replies and self._comm.Iprobe(0, NUMBER):
            reply = np.empty(1, np.int64)
            self._comm.Recv(reply, 0, NUMBER)
            self._replies -= 1
            if reply[0] != NONE:
                self._mine.append(int(reply[0]))

    def _give(self, number: int, result: bytes | memoryview, done: bool) -> None:
        if self.rank == 0:
            self._receive(number, result, done, 0)
            self.poll()
            return
        data = np.empty(HEADER.size + len(result), np.uint8)
        HEADER.pack_into(data.data, 0, number, done)
        data[HEADER.size :] = np.frombuffer(result, np.uint8)
        self._sent.append((self._comm.Isend([data, MPI.BYTE], 0, RESULT), data))
        self._replies += 1
        self.poll()

    def _receive(self, number: int, result: bytes | memoryview, done: bool, rank: int) -> None:
        """Take a result, and those that it was missing for, and deal numbers (rank 0)."""
        del self._owners[number]
        self._failed = self._failed or not done
        if not self._failed:
            self._ready[number] = result
            while self._next_taken in self._ready and not self._failed:
                self._take_next()
        self._waiting.append(rank)
        while self._waiting and (self._over or self._next_dealt - self._next_taken < WINDOW * self.size):
            self._deal(self._waiting.popleft())

    def _take_next(self) -> None:
        try:
            self._take(self._ready.pop(self._next_taken))
        except Exception as error:  # the others are still to be told, and to be waited for
            self.error, self._failed = error, True
        self._next_taken += 1

    @property
    def _over(self) -> bool:
        """True if no more numbers are dealt."""
        return self._failed or self._next_dealt == self._count

    def _deal(self, rank: int) -> None:
        number = NONE
        if not self._over:
            number, self._next_dealt = self._next_dealt, self._next_dealt + 1
            self._owners[number] = rank
        if rank == 0:
            if number != NONE:
                self._mine.append(number)
            return
        reply = np.array([number])
        self._sent.append((self._comm.Isend(reply, rank, NUMBER), reply))

    def _wait_for_number(self) -> None:
        if self.rank:
            self._wait("for the next piece of work", 0, lambda: bool(self._mine) or not self._replies)
        elif self._owners:
            self._wait_for_results(lambda: bool(self._mine) or not self._owners)

    def _wait_for_results(self, over: Callable[[], bool]) -> None:
        while not over():
            self._wait_for_result(min(self._owners), over)

    def _wait_for_result(self, number: int, over: Callable[[], bool]) -> None:
        """Wait until ``over``, or for the result of a piece: messages name the rank that has it."""
        text, owner = f"for piece {number} of the work", self._owners[number]
        self._wait(text, owner, lambda: over() or number not in self._owners)

    def _finish(self) -> None:
        if self.rank == 0:
            self._wait_for_results(lambda: not self._owners)
        self._wait("to send the result of a piece of work", 0, lambda: not self._sent)
        self._comm.Free()

    def _wait(self, text: str, peer: int, over: Callable[[], bool]) -> None:
        """Poll until ``over``, as a wait that the ledger records; asleep in between, for the ranks that work."""
        self.poll()
        if over():
            return
        ledger, nap = self._group.job.ledger, FIRST_NAP
        at = None if ledger is None else ledger.begin_message(text, self._group.world_ranks[peer])
        try:
            while not over():
                time.sleep(nap)
                nap = min(2 * nap, LONGEST_NAP)
                self.poll()
        finally:
            if ledger is not None and at is not None:
                ledger.end(at)
