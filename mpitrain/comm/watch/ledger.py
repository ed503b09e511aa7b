"""Ledger, a flight recorder: the collectives of each rank, in memory that all ranks of its node can read.

A rank records every collective when it begins, when the rank starts to wait for it and when it is over: eight numbers
in a ring in shared memory, in a microsecond or two. The memory outlives the rank as long as one rank of the node lives,
and its file has no name, so nothing is left behind. ``watchdog.py`` reads it when a wait takes too long.

    slot of a rank   | facts | the last 64 entries | histories: the last 64 hashes of each | texts |

An entry that must be the same on all ranks of a group has a number in the history of the group, and the rolling hash of
all entries up to it (``history.py``). On one node, the second rank that begins such a call detects a difference before
it calls MPI, which might end the process or wait forever. Waits for messages between two ranks are entries as well,
each with a text of its own.
"""

import contextlib
import itertools
import os
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .history import History
from .memory import shared_memory
from .slot import (
    ENTRIES,
    ENTRY_TEXTS,
    FACTS,
    GROUP_TEXTS,
    HISTORIES,
    HISTORIES_AT,
    LABEL_BYTES,
    LABEL_RANGE,
    LABELS,
    SLOT_BYTES,
    STAGES_TEXT,
    TASKS,
    WIDTH,
    Fact,
    Record,
    process_space,
    process_start,
)

COMM = os.path.dirname(os.path.dirname(__file__))
PACKAGE = os.path.dirname(COMM)
NOT_CALLERS = (COMM + os.sep, contextlib.__file__)
TASK_PLACES = {kind: place for place, kind in enumerate(TASKS)}
FAILING_TOGETHER = 0.2  # seconds within which ranks that fail for the same reason do so


@dataclass(frozen=True)
class Label:
    """Label of entries: the number of a stored text; a code and the history in which it is compared, if it is."""

    number: int
    code: int = 0
    history: History | None = None


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
    job : History
        The collectives of all ranks.
    on_end : callable(int) or None
        Called with the place of each entry that is over.
    stacks : file descriptor
        File to which all ranks of the node write their stacks when asked to; -1 if there is none.
    interruptible : bool
        True where waits for other ranks are in Python, so that a signal can end them by an exception.
    """

    def __init__(self, node: Any, rank: int):
        memory, self.stacks = shared_memory(node)
        whole = memoryview(memory)
        slots = [whole[at : at + SLOT_BYTES] for at in range(0, len(whole), SLOT_BYTES)]
        self.records = [Record(slot) for slot in slots]
        place = node.rank if len(slots) > 1 else 0
        self.mine = self.records[place]
        self._doubles, self._texts = self.mine.doubles, self.mine.texts
        self._labels: dict[Any, Label] = {}
        self._label_count, self._count = itertools.count(), itertools.count(1)
        self.on_end: Callable[[int], None] | None = None
        self.interruptible = False
        self.job = History(self.mine, 0, self._others())
        self._histories: dict[int, History] = {}
        self._introduce(rank)
        node.Barrier()

    def _introduce(self, rank: int) -> None:
        d = self._doubles
        d[Fact.RANK], d[Fact.PID], d[Fact.START] = rank, os.getpid(), process_start(os.getpid())
        d[Fact.SPACE], d[Fact.MAIN_THREAD] = process_space(), threading.main_thread().ident or 0
        d[Fact.HEARTBEAT] = time.monotonic()
        d[Fact.PRESENT] = 1

    def _others(self) -> list[Record]:
        return [record for record in self.records if record is not self.mine]

    def history(self, group: str, ranks: Sequence[int]) -> History | None:
        """Return the history of a group of ranks, None if there are too many groups.

        Parameters
        ----------
        group : str
            " on axis NAME (RANKS)", the same on all of its ranks.
        ranks : sequence of int
            Ranks in the job.
        """
        code = 1 + zlib.crc32(f"{group} {sorted(ranks)}".encode())
        found = self._histories.get(code)
        if found is None and (place := len(self._histories) + 1) < HISTORIES:
            others = [record for record in self._others() if record.rank in ranks]
            self._write(GROUP_TEXTS + place, group)
            found = self._histories[code] = History(self.mine, place, others, code, self.job.era)
        return found

    def name_stages(self, stages: Sequence[int]) -> None:
        """Record the stages of this rank in a pipeline, for messages about it; none without one."""
        text = ""
        if stages:
            *most, last = map(str, stages)
            text = f"stages {', '.join(most)} and {last}" if most else f"stage {last}"
        self._write(STAGES_TEXT, text)

    def begin_task(self, kind: str, stage: int, microbatch: int) -> None:
        """Record the task of a pipeline that this rank begins; ``kind`` is one of ``TASKS``, empty for none."""
        d = self._doubles
        d[Fact.TASK], d[Fact.TASK_STAGE], d[Fact.MICROBATCH] = TASK_PLACES[kind], stage, microbatch

    def label(self, text: str, *, compared: str = "", history: History | None = None) -> Label:
        """Return the label of ``text``; ``compared`` is the part that must be the same on all ranks, or empty.

        It is compared in ``history``, by default that of the whole job.
        """
        history = history or self.job
        key = (text, compared, history)
        found = self._labels.get(key)
        if found is None:
            number = min(next(self._label_count), LABELS - 1)
            if number < LABELS - 1:
                self._write(number, text)
            found = Label(number)
            if compared:
                code = 1 + zlib.crc32(compared.encode())
                found = Label(number + history.place * LABEL_RANGE, code, history)
            self._labels[key] = found
        return found

    def _write(self, number: int, text: str) -> None:
        raw = text.encode()[:LABEL_BYTES]
        self._texts[number * LABEL_BYTES : (number + 1) * LABEL_BYTES] = raw.ljust(LABEL_BYTES, b"\0")

    def call(self, operation: str, num_bytes: int, dtype: Any, history: History | None, where: str = "") -> Label:
        """Return the label of a call, with its communicator and the line of the program that makes it."""
        frame = caller()
        key = (operation, num_bytes, dtype, where, history, id(frame.f_code), frame.f_lasti)
        found = self._labels.get(key)
        if found is None:
            what = f"{operation} of {num_bytes:,} bytes of {dtype}" if dtype is not None else operation
            text = f"{what}{where} at {source_line(frame)}"
            found = self._labels[key] = self.label(text, compared=what if history else "", history=history)
        return found

    def begin(self, label: Label, waits: bool = True) -> int:
        """Record the beginning of a call; return its place, for ``waits`` and ``end``.

        Raises
        ------
        MismatchError
            If the entry is compared and another rank of this node has a different one with this number.
        """
        d, seq, history = self._doubles, next(self._count), label.history  # as _next: a call less in every step
        at, now = FACTS + seq % ENTRIES * WIDTH, time.monotonic()
        d[at + 6] = -1.0
        d[at] = seq
        d[at + 2], d[at + 3] = history.next(label.code) if history is not None else (0, 0)
        d[at + 1], d[at + 4], d[at + 5] = label.number, now, now if waits else 0.0
        d[at + 6] = 0.0
        d[at + 7] = label.code
        if history is not None:
            history.compare()
        return at

    def begin_message(self, text: str, peer: int) -> int:
        """Record the beginning of a wait for a message to or from the rank ``peer``; return its place, for ``end``."""
        at = self._next()
        d, now, number = self._doubles, time.monotonic(), ENTRY_TEXTS + (at - FACTS) // WIDTH
        self._write(number, text)
        d[at + 1], d[at + 2], d[at + 3], d[at + 4], d[at + 5], d[at + 7] = number, 0, peer + 1, now, now, 0
        d[at + 6] = 0.0
        return at

    def _next(self) -> int:
        """Return the place of the next entry, which counts as neither ended nor waited for while it is written."""
        seq = next(self._count)
        at = FACTS + seq % ENTRIES * WIDTH
        self._doubles[at + 6] = -1.0
        self._doubles[at] = seq
        return at

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
        """Rolling 32-bit hash of the job's collectives, the same on all ranks of a correct program."""
        return self.job.hash

    def restart(self, rank: int) -> None:
        """Continue as ``rank`` among the surviving ranks, with an empty history."""
        for at in range(FACTS, HISTORIES_AT):
            self._doubles[at] = 0.0
        self._doubles[Fact.RANK] = rank
        self.records = [record for record in self.records if record.process_lives()]
        self._histories.clear()
        self.job.begin(self._others(), self.job.era + 1)

    def fails_first(self) -> bool:
        """Record the failure of this rank; return False if another rank of the node failed before and reports it."""
        self._doubles[Fact.FAILED] = time.monotonic()
        time.sleep(FAILING_TOGETHER)
        failed = [(at, record.rank) for record in self.records if (at := record.fact(Fact.FAILED))]
        return min(failed)[1] == self.mine.rank

    def leave(self) -> None:
        """Record that this rank has finished."""
        self._doubles[Fact.PRESENT] = 0

    def close(self) -> None:
        """Close the file of stacks, which a process that makes many ledgers would have too many of."""
        if self.stacks >= 0:
            os.close(self.stacks)
            self.stacks = -1


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
