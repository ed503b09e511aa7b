"""A log in the memory of rank 0 to which all ranks append, one after the other: a window, and no rank that serves it.

    rank 0   | rank whose turn it is | length | flags ... | lines ...

A rank that wants to append writes its number into the first word if nobody's is there (MPI_Compare_and_swap). Then it
reads the lines that others have appended meanwhile, decides what to append, and clears the word. So each decision
follows from all that were taken before it, and ranks that have read the same lines know the same. Turns have no order:
where ranks outnumber cores, a queue would make all of them wait until the next in line gets a core.

Rank 0 takes no part in the operations of the others, and may compute meanwhile. On one node they act on shared memory.
Between nodes, some networks need the hand of the target: there a thread of rank 0 calls MPI now and then.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from mpi4py import MPI

from ..errors import UserError
from .schedule.progress_thread import why_no_thread

WORD = 8  # bytes
TURN, LENGTH, FLAGS = range(3)  # words
FIRST_NAP, LONGEST_NAP = 1e-5, 2e-3  # seconds between two looks at whether the turn is over
HAND = 0.01  # seconds between two calls of MPI by rank 0's thread


class SharedLog:
    """Lines that all ranks share.

    Parameters
    ----------
    comm : MPI.Comm
        All of its ranks make the log together.
    capacity : int
        Bytes of all lines.
    flags : int
        Number of flags: whole numbers, 0 at first, that any rank sets and reads at any time.
    """

    def __init__(self, comm: Any, capacity: int, flags: int = 0):
        self._comm = comm.Dup()
        self._at, self._capacity, self._read = WORD * (FLAGS + flags), capacity, 0
        self._in_turn = threading.Lock()  # of the threads of this rank
        size = self._at + capacity if comm.rank == 0 else 0
        node = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        one_node = node.size == comm.size
        node.Free()
        allocate = MPI.Win.Allocate_shared if one_node else MPI.Win.Allocate
        self._window = allocate(size, 1, comm=self._comm)
        self._window.Lock_all(MPI.MODE_NOCHECK)
        if comm.rank == 0:
            self._window.Put(np.zeros(self._at, np.uint8), 0, 0)
            self._window.Flush(0)
        self._comm.Barrier()
        self._over = threading.Event()
        self._hand: threading.Thread | None = None
        if not one_node and comm.rank == 0 and why_no_thread() is None:
            self._hand = threading.Thread(target=self._help, name="mpitrain-log", daemon=True)
            self._hand.start()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Enclose what one rank does at a time."""
        with self._in_turn:
            nap = FIRST_NAP
            while not self._take_turn():
                time.sleep(nap)
                nap = min(2 * nap, LONGEST_NAP)
            try:
                yield
            finally:
                self.set(TURN - FLAGS, 0)

    def read(self) -> list[bytes]:
        """Return the lines that this rank has not read yet; in ``turn``, there are no others."""
        length = self.get(LENGTH - FLAGS)
        if length == self._read:
            return []
        data = np.empty(length - self._read, np.uint8)
        self._window.Get(data, 0, self._at + self._read)
        self._window.Flush(0)
        self._read = length
        return data.tobytes().splitlines(keepends=True)

    def append(self, line: bytes) -> None:
        """Append a line, which ends with a newline; in ``turn``, after ``read``.

        Raises
        ------
        UserError
            If there is no room for it.
        """
        if self._read + len(line) > self._capacity:
            raise UserError(f"the log of this job is full: it has room for {self._capacity:,} bytes")
        self._window.Put(np.frombuffer(line, np.uint8), 0, self._at + self._read)
        self._window.Flush(0)  # before the length, by which others know that it is there
        self._add(LENGTH, len(line))
        self._read += len(line)

    def get(self, flag: int) -> int:
        """Return the value of a flag."""
        found = np.empty(1, np.int64)
        self._window.Fetch_and_op(np.zeros(1, np.int64), found, 0, WORD * (FLAGS + flag), MPI.NO_OP)
        self._window.Flush(0)
        return int(found[0])

    def set(self, flag: int, value: int) -> None:
        """Set a flag."""
        before = np.empty(1, np.int64)
        self._window.Fetch_and_op(np.array([value], np.int64), before, 0, WORD * (FLAGS + flag), MPI.REPLACE)
        self._window.Flush(0)

    def free(self) -> None:
        """Free the memory; all ranks call it together, and wait for each other asleep."""
        request = self._comm.Ibarrier()
        while not request.Test():
            time.sleep(LONGEST_NAP)
        self._over.set()
        if self._hand is not None:
            self._hand.join()
        self._window.Unlock_all()
        self._window.Free()
        self._comm.Free()

    def _take_turn(self) -> bool:
        mine, free, before = (np.array([value], np.int64) for value in (self._comm.rank + 1, 0, 0))
        self._window.Compare_and_swap(mine, free, before, 0, WORD * TURN)
        self._window.Flush(0)
        return int(before[0]) == 0

    def _add(self, word: int, value: int) -> int:
        before = np.empty(1, np.int64)
        self._window.Fetch_and_op(np.array([value], np.int64), before, 0, WORD * word, MPI.SUM)
        self._window.Flush(0)
        return int(before[0])

    def _help(self) -> None:
        """Let MPI progress the operations of other nodes while this rank computes."""
        while not self._over.wait(HAND):
            self._comm.Iprobe()
