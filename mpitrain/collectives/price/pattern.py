"""Periodic schedules: the steps of rank r + g are those of rank r with all peers shifted by g.

A ring of 100,000 ranks has 2e10 messages, but all ranks have the same steps (g = 1); in a two-level algorithm the
ranks of a node differ, and the nodes do not (g = the ranks of a node). Such a schedule consists of the steps of g
ranks. The steps before the repetition may differ between ranks, if they are few: a broadcast that scatters down a tree
and then gathers around a ring.

The period is determined from a sample of ranks: it is not proved for the others, and prices that depend on it say so.
Only synchronous schedules qualify: a message sent in round k is received in round k.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ...errors import ScheduleError
from ..step import Schedule, Step
from .program import IDLE, Columns, Program

FIRST_LOOK = 48
MAX_STEPS = 4_000_000
LONGEST_HEAD = 256  # steps of a rank before the repetition begins
SAME = 8  # steps to whose peers a rank is seen to have come to the repetition

Rows = np.ndarray
"""The steps of one rank, (S, 3): peers minus rank modulo P (0 where a side is idle), and the kind."""


@dataclass(frozen=True)
class Pattern:
    """The rounds of g ranks that stand for all P.

    Parameters
    ----------
    size : int
        P, a multiple of g.
    send_by, recv_by : (g, S) arrays
        Peer minus rank, modulo P; 0 where a side is idle.
    kind : (g, S) array
        A row of ``kinds``.
    kinds : (K, 5) array
        As in Program.
    head : Program or None
        The steps of all ranks before the repetition.
    """

    size: int
    send_by: np.ndarray
    recv_by: np.ndarray
    kind: np.ndarray
    kinds: np.ndarray
    head: Program | None = None

    @property
    def num_classes(self) -> int:
        """g."""
        return len(self.send_by)

    @property
    def num_rounds(self) -> int:
        """S."""
        return int(self.send_by.shape[1])

    @property
    def num_messages(self) -> int:
        """Messages of all ranks together."""
        before = self.head.num_messages if self.head else 0
        return before + int(np.count_nonzero(self.send_by)) * (self.size // self.num_classes)

    @property
    def most_sent(self) -> int:
        """Chunks that the busiest rank sends."""
        before = self.head.most_sent if self.head else 0
        return before + int(self.kinds[:, 0][self.kind].sum(axis=1).max())


class _Ranks:
    """The steps of single ranks, relative to their ranks; all of them share the numbers of the kinds."""

    def __init__(self, schedule: Schedule, size: int):
        self.schedule, self.size = schedule, size
        self.columns = Columns()

        self._begun: dict[int, Rows] = {}

    def begin(self, rank: int) -> Rows:
        """Return the first steps of ``rank``."""
        if rank not in self._begun:
            self._begun[rank] = self._rows(rank, FIRST_LOOK)
        return self._begun[rank]

    def all(self, rank: int, most: int = MAX_STEPS) -> Rows:
        """Return all steps of ``rank``, or ``most`` of them."""
        begin = self._begun.get(rank)
        return begin if begin is not None and len(begin) < FIRST_LOOK else self._rows(rank, most)

    def steps(self, rank: int, most: int) -> Iterator[Step]:
        """Yield the steps that do something."""
        return (step for step in islice(self.schedule(rank, self.size), most) if not _idle(step))

    def _rows(self, rank: int, most: int) -> Rows:
        self.columns.add(self.steps(rank, most))
        send_to, recv_from, kind = self.columns.take()
        by = [np.where(peer == IDLE, 0, (peer.astype(np.int64) - rank) % self.size) for peer in (send_to, recv_from)]
        return np.stack([*by, kind], axis=1)


def _idle(step: Step) -> bool:
    return step.send_to is None and step.recv_from is None


def find_pattern(schedule: Schedule, size: int, periods: tuple[int, ...] = ()) -> Pattern | None:
    """Return the pattern of ``schedule``, None if it is not periodic or not synchronous.

    Parameters
    ----------
    schedule : Schedule
    size : int
    periods : tuple of int
        Numbers of ranks to try beside the powers of two up to 64 (the ranks of a node, for instance).
    """
    ranks = _Ranks(schedule, size)
    for period in sorted({1, 2, 4, 8, 16, 32, 64, *periods}):
        if size % period or size < 4 * period:
            continue
        if all(
            np.array_equal(ranks.begin(rank), ranks.begin(other))
            for rank in range(period)
            for other in _samples(size, period, rank)
        ):
            pattern = _collect(ranks, period)
            if pattern is not None:
                return pattern
    return _with_head(ranks) if size >= 4 else None


def _samples(size: int, period: int, rank: int) -> Iterator[int]:
    blocks = size // period
    for block in sorted({1, 2, blocks // 3, blocks // 2, blocks - 1}):
        yield rank + block * period


def _collect(ranks: _Ranks, period: int) -> Pattern | None:
    tables = []
    for rank in range(period):
        tables.append(ranks.all(rank))
        samples = list(_samples(ranks.size, period, rank))
        if len(tables[-1]) * (len(samples) + 1) * period > 2 * MAX_STEPS:
            return None
        if not all(np.array_equal(tables[-1], ranks.all(other)) for other in samples):
            return None
    if any(len(table) != len(tables[0]) for table in tables):
        return None
    return _make(ranks, np.stack(tables))


def _with_head(ranks: _Ranks) -> Pattern | None:
    """Return the pattern in which all ranks do the same after steps of their own, None if there is none."""
    sample = [0, *_samples(ranks.size, 1, 0)]
    most = MAX_STEPS // len(sample)
    tables = [ranks.all(rank, most) for rank in sample]
    tail = tables[0][len(tables[0]) - min(_common_end(tables[0], table) for table in tables) :]
    longest = max(len(table) for table in tables) - len(tail)
    if len(tail) < 2 * SAME or longest > LONGEST_HEAD or len(tables[0]) >= most:
        return None
    begin = [tuple(row) for row in tail[:SAME, :2].tolist()]
    lengths = {}

    def head(rank: int, size: int) -> Iterator[Step]:
        steps, peers = [], []
        for step in ranks.steps(rank, LONGEST_HEAD + SAME):
            steps.append(step)
            peers.append(tuple(0 if p is None else (p - rank) % size for p in (step.send_to, step.recv_from)))
            if peers[-SAME:] == begin:
                lengths[rank] = len(steps) - SAME
                return iter(steps[:-SAME])
        raise ScheduleError(f"rank {rank} does not repeat")

    try:
        program = Program.of(head, ranks.size)
    except ScheduleError:
        return None
    if any(lengths[rank] != len(table) - len(tail) for rank, table in zip(sample, tables)):
        return None
    return _make(ranks, tail[None], program)


def _common_end(a: Rows, b: Rows) -> int:
    """Return how many rows are the same, from the last on."""
    length = min(len(a), len(b))
    differs = np.flatnonzero((a[len(a) - length :] != b[len(b) - length :]).any(axis=1))
    return length - 1 - int(differs[-1]) if differs.size else length


def _make(ranks: _Ranks, table: np.ndarray, head: Program | None = None) -> Pattern | None:
    send_by, recv_by, kind = table.transpose(2, 0, 1)
    pattern = Pattern(ranks.size, send_by, recv_by, kind, ranks.columns.table(), head)
    return pattern if _keeps_step(pattern) else None


def _keeps_step(pattern: Pattern) -> bool:
    receiver = (np.arange(pattern.num_classes)[:, None] + pattern.send_by) % pattern.num_classes
    sends = pattern.send_by != 0
    rounds = np.arange(pattern.num_rounds)[None, :]
    back = (pattern.send_by + pattern.recv_by[receiver, rounds]) % pattern.size == 0
    sent, received = pattern.kinds[:, 0][pattern.kind], pattern.kinds[:, 1][pattern.kind[receiver, rounds]]
    same_number = np.array_equal(sends.sum(axis=0), (pattern.recv_by != 0).sum(axis=0))
    return bool(np.all(back[sends]) and np.all((sent == received)[sends]) and same_number)
