"""Schedules in which ranks repeat: what rank r does, rank r + g does with its peers g further.

A ring of 100,000 ranks has 2e10 messages, but all ranks do the same (g = 1); in a two-level algorithm the ranks of
a node differ, and the nodes do not (g = the ranks of a node). Such a schedule is the steps of g ranks.

That ranks repeat is found on a sample of ranks: it is not proved for the others, and a price that rests on it says
so. Only schedules that keep step are taken: what a rank sends in its round k is received in round k.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ..step import Schedule
from .program import IDLE, step_columns

FIRST_LOOK = 48
MAX_STEPS = 4_000_000


@dataclass(frozen=True)
class Pattern:
    """The rounds of g ranks that stand for all P.

    Parameters
    ----------
    size : int
        P, a multiple of g.
    send_by, recv_by : (g, S) arrays
        Peer minus rank, modulo P; 0 where a side is idle.
    send_chunks, recv_chunks : (g, S) arrays
    packed, worked, hidden : (g, S) arrays
        As in Program.
    """

    size: int
    send_by: np.ndarray
    send_chunks: np.ndarray
    recv_by: np.ndarray
    recv_chunks: np.ndarray
    packed: np.ndarray
    worked: np.ndarray
    hidden: np.ndarray

    @property
    def num_classes(self) -> int:
        """g."""
        return len(self.send_by)

    @property
    def num_rounds(self) -> int:
        """S."""
        return int(self.send_by.shape[1])

    def kinds(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the kind of each round, (S,), and one round of each kind: rounds of a kind are the same."""
        sides = self.send_by, self.send_chunks, self.recv_by, self.recv_chunks
        columns = np.concatenate([*sides, self.packed, self.worked, self.hidden])
        _, first, kind = np.unique(columns, axis=1, return_index=True, return_inverse=True)
        return kind.reshape(-1), first


def find_pattern(schedule: Schedule, size: int, periods: tuple[int, ...] = ()) -> Pattern | None:
    """Return the pattern of ``schedule``, or None if its ranks do not repeat or do not keep step.

    Parameters
    ----------
    schedule : Schedule
    size : int
    periods : tuple of int
        Numbers of ranks to try beside the powers of two up to 64 (the ranks of a node, for instance).
    """
    for period in sorted({1, 2, 4, 8, 16, 32, 64, *periods}):
        if size % period or size < 4 * period:
            continue
        if all(_repeats(schedule, size, period, rank, FIRST_LOOK) for rank in range(period)):
            pattern = _collect(schedule, size, period)
            if pattern is not None:
                return pattern
    return None


def _samples(size: int, period: int, rank: int) -> Iterator[int]:
    blocks = size // period
    for block in sorted({1, 2, blocks // 3, blocks // 2, blocks - 1}):
        yield rank + block * period


def _repeats(schedule: Schedule, size: int, period: int, rank: int, length: int | None) -> bool:
    mine = _relative(schedule, rank, size, length)
    return all(np.array_equal(mine, _relative(schedule, other, size, length)) for other in _samples(size, period, rank))


def _relative(schedule: Schedule, rank: int, size: int, length: int | None) -> np.ndarray:
    table = step_columns(islice(schedule(rank, size), length))
    for side in (0, 2):
        table[:, side] = np.where(table[:, side] == IDLE, 0, (table[:, side] - rank) % size)
    return table


def _collect(schedule: Schedule, size: int, period: int) -> Pattern | None:
    tables = []
    for rank in range(period):
        tables.append(_relative(schedule, rank, size, None))
        samples = list(_samples(size, period, rank))
        if len(tables[-1]) * (len(samples) + 1) * period > 2 * MAX_STEPS:
            return None
        if not all(np.array_equal(tables[-1], _relative(schedule, other, size, None)) for other in samples):
            return None
    num_rounds = len(tables[0])
    if any(len(table) != num_rounds for table in tables):
        return None
    pattern = Pattern(size, *np.stack(tables).transpose(2, 0, 1))
    return pattern if _keeps_step(pattern) else None


def _keeps_step(pattern: Pattern) -> bool:
    receiver = (np.arange(pattern.num_classes)[:, None] + pattern.send_by) % pattern.num_classes
    sends = pattern.send_by != 0
    rounds = np.arange(pattern.num_rounds)[None, :]
    back = (pattern.send_by + pattern.recv_by[receiver, rounds]) % pattern.size == 0
    as_long = pattern.send_chunks == pattern.recv_chunks[receiver, rounds]
    same_number = np.array_equal(sends.sum(axis=0), (pattern.recv_by != 0).sum(axis=0))
    return bool(np.all(back[sends]) and np.all(as_long[sends]) and same_number)
