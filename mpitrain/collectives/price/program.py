"""All steps of all ranks as flat columns, with every send joined to its receive.

Messages between two ranks are matched in the order in which they are sent and received, as MPI does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ...errors import UserError
from ..lockstep import ScheduleError
from ..step import Chunks, Schedule, Step, as_chunks, chunk_runs

IDLE = -1
MAX_STEPS = 30_000_000


def step_columns(steps: Iterable[Step]) -> np.ndarray:
    """Return the steps of one rank as rows, (S, 7); steps that do nothing are left out.

    The columns are send_to, chunks sent, recv_from, chunks received; of these, chunks copied together before they
    are sent, and chunks reduced (or copied to their places) after they are received; and chunks of the step before
    whose reduction can wait until this step is posted, since the two touch different chunks (see comm/plan.py).
    """
    rows: list[int] = []
    waiting: Chunks = None
    num_waiting = 0
    for step in steps:
        send, recv = step.send, step.recv
        if step.send_to is None and step.recv_from is None:
            continue
        num_sent = 1 if isinstance(send, int) else 0 if send is None else len(send)
        num_received = 1 if isinstance(recv, int) else 0 if recv is None else len(recv)
        works = step.reduce or _in_pieces(recv)
        hidden = num_waiting
        if hidden and (_meet(waiting, send) or (not works and _meet(waiting, recv))):
            hidden = 0
        waiting, num_waiting = (recv, num_received) if works else (None, 0)
        rows += (
            IDLE if step.send_to is None else step.send_to,
            num_sent,
            IDLE if step.recv_from is None else step.recv_from,
            num_received,
            num_sent if _in_pieces(send) else 0,
            num_waiting,
            hidden,
        )
    return np.array(rows, np.int64).reshape(-1, 7)


def _in_pieces(chunks: Chunks) -> bool:
    return isinstance(chunks, tuple) and len(chunk_runs(chunks)) > 1


def _meet(some: Chunks, others: Chunks) -> bool:
    if some is None or others is None:
        return False
    if isinstance(some, int) and isinstance(others, int):
        return some == others
    a, b = as_chunks(some), as_chunks(others)
    if isinstance(a, range) and isinstance(b, range):
        return max(a.start, b.start) < min(a.stop, b.stop)
    return not set(a).isdisjoint(b)


@dataclass(frozen=True)
class Program:
    """The steps of all ranks, S in all, in order of rank.

    Parameters
    ----------
    size : int
        P, the number of ranks.
    first : (P + 1,) array
        Where each rank's steps begin.
    rank, send_to, send_chunks, recv_from, recv_chunks : (S,) arrays
        Peers are ``IDLE`` where a side is.
    packed, worked, hidden : (S,) arrays
        Chunks copied before, worked on after, and worked on by the step before while this one moves.
    receipt, origin : (S,) arrays
        The step that receives what this one sends, and the step that sends what this one receives.
    """

    size: int
    first: np.ndarray
    rank: np.ndarray
    send_to: np.ndarray
    send_chunks: np.ndarray
    recv_from: np.ndarray
    recv_chunks: np.ndarray
    packed: np.ndarray
    worked: np.ndarray
    hidden: np.ndarray
    receipt: np.ndarray
    origin: np.ndarray

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
        tables, total = [], 0
        for number in range(size):
            tables.append(step_columns(islice(schedule(number, size), MAX_STEPS - total + 1)))
            total += len(tables[-1])
            if total > MAX_STEPS:
                raise UserError(f"{size} ranks take more than {MAX_STEPS:,} steps: too many to price one by one")
        lengths = [len(table) for table in tables]
        table = np.concatenate(tables) if tables else np.empty((0, 7), np.int64)
        rank = np.repeat(np.arange(size), lengths)
        send_to, send_chunks, recv_from, recv_chunks, *work = np.ascontiguousarray(table.T)
        receipt, origin = _match(size, rank, send_to, recv_from)
        sends = np.flatnonzero(send_to != IDLE)
        wrong = sends[send_chunks[sends] != recv_chunks[receipt[sends]]]
        if wrong.size:
            sender, receiver = rank[wrong[0]], send_to[wrong[0]]
            raise ScheduleError(f"rank {sender} sends another number of chunks than rank {receiver} receives.")
        first = np.array([0, *np.cumsum(lengths)], np.int64)
        packed, worked, hidden = work
        sides = send_to, send_chunks, recv_from, recv_chunks
        return cls(size, first, rank, *sides, packed, worked, hidden, receipt, origin)

    @property
    def duplex(self) -> np.ndarray:
        """Which steps send and receive at once, (S,)."""
        return (self.send_to != IDLE) & (self.recv_from != IDLE)


def _match(size: int, rank: np.ndarray, send_to: np.ndarray, recv_from: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sends, receives = np.flatnonzero(send_to != IDLE), np.flatnonzero(recv_from != IDLE)
    sent = rank[sends] * size + send_to[sends]
    received = recv_from[receives] * size + rank[receives]
    order, partner = np.argsort(sent, kind="stable"), np.argsort(received, kind="stable")
    a, b = sent[order], received[partner]
    if len(a) != len(b) or not np.array_equal(a, b):
        shorter = min(len(a), len(b))
        differs = np.flatnonzero(a[:shorter] != b[:shorter])
        at = int(differs[0]) if differs.size else shorter
        pair = min([int(x[at]) for x in (a, b) if at < len(x)])
        source, target = divmod(pair, size)
        raise ScheduleError(f"rank {source} sends another number of messages to rank {target} than it receives.")
    receipt, origin = np.full(len(rank), IDLE), np.full(len(rank), IDLE)
    receipt[sends[order]] = receives[partner]
    origin[receives[partner]] = sends[order]
    return receipt, origin
