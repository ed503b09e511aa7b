"""Programs: all steps of all ranks as flat columns, with every send matched to its receive.

A step is two peers and a kind: how many chunks it sends, receives, packs and works on. Schedules have few kinds, so a
step takes twelve bytes, and what depends on lengths and wires is computed once for each kind. Messages between two
ranks are matched in the order in which they are sent and received, as MPI does.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from ...errors import ScheduleError, UserError
from ..step import Chunks, Schedule, Step, as_chunks, chunk_runs, count_chunks

IDLE = -1
MAX_STEPS = 30_000_000
FEW = 16  # pairs of ranges of chunks that are compared one by one


class Kind(NamedTuple):
    """Kind of steps that differ in their peers only, in chunks.

    Parameters
    ----------
    sent, received : int
    packed : int
        Copied together before they are sent.
    worked : int
        Reduced, or copied to their places, after they are received.
    hidden : int
        Those of the step before whose reduction can wait until this step is posted, since the two touch different
        chunks (see comm/schedule/plan.py).
    """

    sent: int
    received: int
    packed: int
    worked: int
    hidden: int


class Columns:
    """Steps as columns: peers (``IDLE`` where a side is) and kinds; steps that do nothing are left out.

    Attributes
    ----------
    kinds : dict of (int, ...) to int
        The fields of each ``Kind``, and its number.
    """

    def __init__(self) -> None:
        self.kinds: dict[tuple[int, ...], int] = {}
        self._send_to, self._recv_from, self._kind = array("i"), array("i"), array("i")

    def __len__(self) -> int:
        return len(self._kind)

    def add(self, steps: Iterable[Step]) -> int:
        """Append the steps of one rank; return their number."""
        send_peer, recv_peer, kind = self._send_to.append, self._recv_from.append, self._kind.append
        kinds, before = self.kinds, len(self)
        waiting: Chunks = None
        num_waiting = 0
        for send_to, send, recv_from, recv, reduce in steps:
            if send_to is None and recv_from is None:
                continue
            sent = 1 if type(send) is int else len(send) if type(send) is range else count_chunks(send)
            received = 1 if type(recv) is int else len(recv) if type(recv) is range else count_chunks(recv)
            works = reduce or (type(recv) is tuple and _in_pieces(recv))
            hidden = num_waiting
            if hidden and (_meet(waiting, send) or (not works and _meet(waiting, recv))):
                hidden = 0
            waiting, num_waiting = (recv, received) if works else (None, 0)
            packed = sent if type(send) is tuple and _in_pieces(send) else 0
            key = (sent, received, packed, num_waiting, hidden)
            number = kinds.get(key)
            if number is None:
                number = kinds[key] = len(kinds)
            send_peer(IDLE if send_to is None else send_to)
            recv_peer(IDLE if recv_from is None else recv_from)
            kind(number)
        return len(self) - before

    def take(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return send_to, recv_from and kind, (S,) arrays, and clear them (kinds keep their numbers)."""
        columns = tuple(np.frombuffer(column, np.int32) for column in (self._send_to, self._recv_from, self._kind))
        self._send_to, self._recv_from, self._kind = array("i"), array("i"), array("i")
        return columns[0], columns[1], columns[2]

    def table(self) -> np.ndarray:
        """Return the kinds as rows (K, 5)."""
        return np.array(list(self.kinds), np.int64).reshape(-1, len(Kind._fields))


def _in_pieces(chunks: tuple[int | range, ...]) -> bool:
    """Return whether ``chunks`` are in several places."""
    stop = None
    for part in chunks:
        first, after = (part.start, part.stop) if isinstance(part, range) else (part, part + 1)
        if stop is not None and first != stop:
            return True
        stop = after
    return False


def _meet(some: Chunks, others: Chunks) -> bool:
    """Return whether any chunk is in both."""
    if some is None or others is None:
        return False
    if type(some) is range and type(others) is range:
        return some.start < others.stop and others.start < some.stop and bool(some) and bool(others)
    if type(some) is int and type(others) is int:
        return some == others
    a, b = (part if isinstance(part, tuple) else (part,) for part in (some, others))
    if len(a) * len(b) > FEW:
        return not set(as_chunks(some)).isdisjoint(as_chunks(others))
    return any(_meet(range(x, x + 1) if isinstance(x, int) else x, y) for x in a for y in chunk_runs(b))


@dataclass(frozen=True)
class Program:
    """The steps of all ranks, S in all, in order of rank.

    Parameters
    ----------
    size : int
        P, the number of ranks.
    first : (P + 1,) array
        Where each rank's steps begin.
    send_to, recv_from : (S,) arrays
        Peers; ``IDLE`` where a side is.
    kind : (S,) array
        A row of ``kinds``.
    receipt, origin : (S,) arrays
        The step that receives what this one sends, and the step that sends what this one receives.
    kinds : (K, 5) array
        Chunks; the columns are those of ``Kind``.
    """

    size: int
    first: np.ndarray
    send_to: np.ndarray
    recv_from: np.ndarray
    kind: np.ndarray
    receipt: np.ndarray
    origin: np.ndarray
    kinds: np.ndarray

    @classmethod
    def of(cls, schedule: Schedule, size: int) -> "Program":
        """Collect the steps of every rank.

        Raises
        ------
        ScheduleError
            If a message is sent and not received, or the other way round.
        UserError
            If there are more than ``MAX_STEPS``.
        """
        columns = Columns()
        first = np.zeros(size + 1, np.int64)
        for rank in range(size):
            columns.add(islice(schedule(rank, size), MAX_STEPS - len(columns) + 1))
            first[rank + 1] = len(columns)
            if len(columns) > MAX_STEPS:
                raise UserError(f"{size} ranks take more than {MAX_STEPS:,} steps: too many to price one by one")
        send_to, recv_from, kind = columns.take()
        receipt, origin = _match(size, first, send_to, recv_from)
        program = cls(size, first, send_to, recv_from, kind, receipt, origin, columns.table())
        program._check_lengths()
        return program

    @property
    def num_messages(self) -> int:
        """Messages of all ranks together."""
        return int(np.count_nonzero(self.send_to != IDLE))

    @property
    def most_sent(self) -> int:
        """Chunks that the busiest rank sends."""
        if not len(self.kind):
            return 0
        totals = np.concatenate([[0], np.cumsum(self.kinds[:, 0][self.kind])])[self.first]
        return int(np.diff(totals).max())

    def _check_lengths(self) -> None:
        sends = np.flatnonzero(self.send_to != IDLE)
        if not sends.size:
            return
        sent, received = self.kinds[:, 0], self.kinds[:, 1]
        wrong = sends[sent[self.kind[sends]] != received[self.kind[self.receipt[sends]]]]
        if wrong.size:
            sender, receiver = np.searchsorted(self.first, wrong[0], "right") - 1, self.send_to[wrong[0]]
            raise ScheduleError(f"rank {sender} sends another number of chunks than rank {receiver} receives.")


def _match(size: int, first: np.ndarray, send_to: np.ndarray, recv_from: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``receipt`` and ``origin``."""
    rank = np.repeat(np.arange(size), np.diff(first))
    sends, receives = np.flatnonzero(send_to != IDLE), np.flatnonzero(recv_from != IDLE)
    sent = rank[sends] * size + send_to[sends]
    received = recv_from[receives].astype(np.int64) * size + rank[receives]
    order, partner = np.argsort(sent, kind="stable"), np.argsort(received, kind="stable")
    a, b = sent[order], received[partner]
    if len(a) != len(b) or not np.array_equal(a, b):
        shorter = min(len(a), len(b))
        differs = np.flatnonzero(a[:shorter] != b[:shorter])
        at = int(differs[0]) if differs.size else shorter
        pair = min([int(x[at]) for x in (a, b) if at < len(x)])
        source, target = divmod(pair, size)
        raise ScheduleError(f"rank {source} sends another number of messages to rank {target} than it receives.")
    del sent, received, a, b, rank
    receipt, origin = np.full(len(send_to), IDLE, np.int32), np.full(len(send_to), IDLE, np.int32)
    receipt[sends[order]] = receives[partner]
    origin[receives[partner]] = sends[order]
    return receipt, origin
