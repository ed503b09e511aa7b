"""Ledger, a flight recorder: the collectives of each rank, in memory that all ranks of its node can read.

A rank records every collective when it begins, when the rank starts to wait for it and when it is over: eight numbers
in a ring in shared memory, in a microsecond or two. The memory outlives the rank as long as one rank of the node lives,
and its file has no name, so nothing is left behind. ``watchdog.py`` reads it when a wait takes too long.

    slot of a rank   | facts | the last 64 entries | the last 64 hashes | texts of the labels |

An entry that must be the same on all ranks has a number, and the rolling hash of all such entries up to it: ranks whose
hashes differ have not called the same collectives in the same order (``fingerprint``). On one node, the second rank
that begins such a call detects the difference before it calls MPI, which might end the process or wait forever.
"""

import contextlib
import itertools
import mmap
import os
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .slot import (
    ENTRIES,
    ERA,
    FACTS,
    HASHES,
    LABEL_BYTES,
    LABELS,
    SLOT_BYTES,
    WIDTH,
    Fact,
    Record,
    process_space,
    process_start,
)

PLACES = ("/dev/shm", None)  # None is the directory for temporary files
COMM = os.path.dirname(os.path.dirname(__file__))
PACKAGE = os.path.dirname(COMM)
NOT_CALLERS = (COMM + os.sep, contextlib.__file__)
FAILING_TOGETHER = 0.2  # seconds within which ranks that fail for the same reason do so
PRIME = 16777619
MODULUS = 1 << 32
NUMBER = int(Fact.NUMBER)


class MismatchError(Exception):
    """Raised when this rank begins another collective than another rank of its node."""


@dataclass(frozen=True)
class Label:
    """Label of entries: the number of a stored text, and a code to compare between ranks (0: not compared)."""

    number: int
    code: int


class Ledger:
    """The slot of this rank, and the records of all ranks of the node.

    Parameters
    ----------
    node : MPI.Comm
        The ranks of this node; all of them make the ledger together.
    rank : int
        This rank in the whole job.

    Attributes
    ----------
    records : list of Record
        Records of the ranks of this node, this one included.
    mine : Record
    on_end : callable(int) or None
        Called with the place of each entry that is over.
    stacks : file descriptor
        File to which all ranks of the node write their stacks when asked to; -1 if there is none.
    """

    def __init__(self, node: Any, rank: int):
        memory, self.stacks = _shared_memory(node)
        whole = memoryview(memory)
        slots = [whole[at : at + SLOT_BYTES] for at in range(0, len(whole), SLOT_BYTES)]
        self.records = [Record(slot) for slot in slots]
        place = node.rank if len(slots) > 1 else 0
        self.mine = self.records[place]
        self._doubles, self._texts = self.mine.doubles, self.mine.texts
        self._labels: dict[Any, Label] = {}
        self._label_count, self._count = itertools.count(), itertools.count(1)
        self._number = self._hash = 0
        self.on_end: Callable[[int], None] | None = None
        self._others = [record.doubles for record in self.records if record is not self.mine]
        self._introduce(rank)
        node.Barrier()

    def _introduce(self, rank: int) -> None:
        d = self._doubles
        d[Fact.RANK], d[Fact.PID], d[Fact.START] = rank, os.getpid(), process_start(os.getpid())
        d[Fact.SPACE], d[Fact.MAIN_THREAD] = process_space(), threading.main_thread().ident or 0
        d[Fact.HEARTBEAT] = time.monotonic()
        d[Fact.PRESENT] = 1

    def label(self, text: str, *, compared: str = "") -> Label:
        """Return the label of ``text``; ``compared`` is the part that must be the same on all ranks, or empty."""
        key = (text, compared)
        found = self._labels.get(key)
        if found is None:
            number = min(next(self._label_count), LABELS - 1)
            if number < LABELS - 1:
                raw = text.encode()[:LABEL_BYTES]
                self._texts[number * LABEL_BYTES :][: len(raw)] = raw
            found = Label(number, 1 + zlib.crc32(compared.encode()) if compared else 0)
            self._labels[key] = found
        return found

    def call(self, operation: str, num_bytes: int, dtype: Any, compared: bool, where: str = "") -> Label:
        """Return the label of a call, with its communicator and the line of the program that makes it."""
        frame = caller()
        key = (operation, num_bytes, dtype, where, id(frame.f_code), frame.f_lasti)
        found = self._labels.get(key)
        if found is None:
            what = f"{operation} of {num_bytes:,} bytes of {dtype}" if dtype is not None else operation
            text = f"{what}{where} at {source_line(frame)}"
            found = self._labels[key] = self.label(text, compared=what if compared else "")
        return found

    def begin(self, label: Label, waits: bool = True) -> int:
        """Record the beginning of a call; return its place, for ``waits`` and ``end``.

        Raises
        ------
        MismatchError
            If the entry is compared and another rank of this node has a different one with this number.
        """
        seq = next(self._count)
        at = FACTS + seq % ENTRIES * WIDTH
        d, now = self._doubles, time.monotonic()
        d[at + 6] = -1.0  # neither ended nor waited for while the rest is written
        if label.code:
            self._number += 1
            self._hash = (self._hash * PRIME + label.code) % MODULUS
            d[at + 2], d[at + 3] = self._number, self._hash
        else:
            d[at + 2] = 0.0
        d[at], d[at + 1], d[at + 4] = seq, label.number, now
        d[at + 5] = now if waits else 0.0
        d[at + 6] = 0.0
        d[at + 7] = label.code
        if label.code:
            self._compare()
        return at

    def _compare(self) -> None:
        """Publish the hash of an entry and compare it with those of the other ranks that are not yet overwritten."""
        d, number, own = self._doubles, self._number, self._hash
        at = HASHES + number % ENTRIES
        d[at] = own
        d[NUMBER] = number
        for other in self._others:
            if other[NUMBER] >= number and other[at] != own and other[NUMBER] < number + ENTRIES - 1:
                raise MismatchError(f"another rank's collective number {number % ERA} is not this one's")

    def waits(self, at: int) -> None:
        """Record that this rank waits for the end of the call."""
        self._doubles[at + 5] = time.monotonic()

    def end(self, at: int) -> None:
        """Record the end of the call."""
        self._doubles[at + 6] = time.monotonic()
        if self.on_end is not None:
            self.on_end(at)

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Record the block as a wait for other ranks."""
        at = self.begin(self.label(text))
        try:
            yield
        finally:
            self.end(at)

    @property
    def fingerprint(self) -> int:
        """Rolling 32-bit hash of all compared collectives, the same on all ranks of a correct program."""
        return self._hash

    def restart(self, rank: int) -> None:
        """Continue as ``rank`` among the surviving ranks, with an empty history."""
        self._number, self._hash = (self._number // ERA + 1) * ERA, 0
        for at in range(FACTS, FACTS + ENTRIES * WIDTH):
            self._doubles[at] = 0.0
        self._doubles[Fact.RANK] = rank
        self.records = [record for record in self.records if record.process_lives()]
        self._others = [record.doubles for record in self.records if record is not self.mine]

    def fails_first(self) -> bool:
        """Record the failure of this rank; return False if another rank of the node failed before and reports it."""
        self._doubles[Fact.FAILED] = time.monotonic()
        time.sleep(FAILING_TOGETHER)
        failed = [(at, record.rank) for record in self.records if (at := record.fact(Fact.FAILED))]
        return min(failed)[1] == self.mine.rank

    def leave(self) -> None:
        """Record that this rank has finished."""
        self._doubles[Fact.PRESENT] = 0


def caller() -> FrameType:
    """Return the innermost frame outside of ``mpitrain.comm``."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(NOT_CALLERS):
        frame = frame.f_back
    return frame


def source_line(frame: FrameType) -> str:
    """Return FILE:LINE with a short path."""
    return f"{short_path(frame.f_code.co_filename)}:{frame.f_lineno}"


def short_path(path: str) -> str:
    """Return a path relative to the package, or the last two names of a path outside of it."""
    within = path.removeprefix(PACKAGE + os.sep)
    return within if within != path else os.sep.join(path.split(os.sep)[-2:])


def _shared_memory(node: Any) -> tuple[mmap.mmap, int]:
    """Return memory for the slots of all ranks of the node, and a file for stacks; for one slot if that fails."""
    for place in PLACES:
        paths = None
        if node.rank == 0:
            with contextlib.suppress(OSError):
                paths = _make_files(place, node.size * SLOT_BYTES)
        paths = node.bcast(paths)
        if paths is None:
            continue
        memory, stacks = None, -1
        with contextlib.suppress(OSError, ValueError):
            memory, stacks = _open_files(*paths)
        everybody = all(node.allgather(memory is not None))
        if node.rank == 0:
            for path in paths:
                os.unlink(path)
        if everybody and memory is not None:
            return memory, stacks
    return mmap.mmap(-1, SLOT_BYTES), -1


def _make_files(place: str | None, num_bytes: int) -> tuple[str, str]:
    ledger, path = tempfile.mkstemp(prefix="mpitrain-ledger-", dir=place)
    try:
        os.posix_fallocate(ledger, 0, num_bytes)  # now: a later store into a page without memory ends the process
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(ledger)
    stacks, stacks_path = tempfile.mkstemp(prefix="mpitrain-stacks-", dir=place)
    os.close(stacks)
    return path, stacks_path


def _open_files(path: str, stacks_path: str) -> tuple[mmap.mmap, int]:
    ledger = os.open(path, os.O_RDWR)
    try:
        memory = mmap.mmap(ledger, 0)
    finally:
        os.close(ledger)
    return memory, os.open(stacks_path, os.O_RDWR | os.O_APPEND)
