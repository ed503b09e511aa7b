"""Requests that wait, and batches of them: what has come while all replicas were busy is computed together.

All of it runs in the event loop of the server, so that there are no locks.
"""

import asyncio
import itertools
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from .jobs import Continuation, Job, Reply
from .metrics import Metrics
from .replicas import Replica, Replicas
from .results import concatenate, join, part_of
from .waiting import Failed, Full, Piece, Waiting

CHECK = 1.0  # seconds between two looks for replicas that do not reply


class Scheduler:
    """Collects samples of several requests to batches, and gives each to a free replica.

    Parameters
    ----------
    replicas : Replicas
    metrics : Metrics
    max_batch : int
        The most samples of a batch.
    max_delay : float
        Seconds for which a sample may wait for others to come while a replica is free.
    max_queue : int
        The most samples that wait.
    patience : float
        Seconds in which a replica must be heard of while it computes.
    width : int
        Tokens of each row of a batch; 0 for the longest of its rows.
    """

    def __init__(
        self,
        replicas: Replicas,
        metrics: Metrics,
        *,
        max_batch: int,
        max_delay: float,
        max_queue: int,
        patience: float,
        width: int = 0,
    ):
        self.replicas, self._metrics = replicas, metrics
        self.max_batch, self.max_delay, self.max_queue = max_batch, max_delay, max_queue
        self._patience, self._width = patience, width
        self._waiting: deque[Piece] = deque()
        self._running: dict[int, list[Piece]] = {}
        self._numbers = itertools.count()
        self.queued = 0
        self._planned = self._dispatching = False
        self._timer: asyncio.TimerHandle | None = None
        self.on_lost: Callable[[], Any] = lambda: None

    def start(self) -> None:
        """Begin to look for late replicas; called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.call_later(CHECK, self._check)

    def predict(self, x: np.ndarray, *, alone: bool = False) -> Waiting:
        """Return what waits for the results of samples (n, ...).

        Parameters
        ----------
        alone : bool
            There are no other clients: a free replica gets it at once.

        Raises
        ------
        Full
            If too many samples wait.
        """
        pieces = [x] if len(x) <= self.max_batch else np.split(x, range(self.max_batch, len(x), self.max_batch))
        waiting = self._admit(len(x), len(pieces))
        now = time.monotonic()
        for number, part in enumerate(pieces):
            self._waiting.append(Piece(waiting, number, len(part), now, part))
        if alone and not self.max_delay:
            self._dispatch()
        elif not self._planned:  # after all requests that have come by now
            self._planned = True
            self._loop.call_soon(self._dispatch)
        return waiting

    def write(self, request: Continuation, say: Callable[[str], None] | None = None) -> Waiting:
        """Return what waits for a text.

        Raises
        ------
        Full
            If too many requests wait.
        """
        waiting = self._admit(1, 1)
        waiting.say = say
        self._waiting.append(Piece(waiting, 0, 1, time.monotonic(), request=request))
        self._dispatch()
        return waiting

    def drop(self, waiting: Waiting) -> None:
        """Forget a request that no client waits for; a batch that is being computed is not stopped, a text is."""
        if not waiting.future.done():
            waiting.future.cancel()
        for number in waiting.running:
            if any(piece.request is not None for piece in self._running.get(number, ())):
                self.replicas.cancel(number)
        if len(waiting.results) + len(waiting.running) < waiting.num_pieces:
            kept = deque(piece for piece in self._waiting if piece.owner is not waiting)
            self.queued -= sum(piece.samples for piece in self._waiting) - sum(piece.samples for piece in kept)
            self._waiting = kept

    def take_reply(self, reply: Reply) -> None:
        """Hand out the results of a job, and give the replica that has computed it another one."""
        replica = next((one for one in self.replicas.all if one.job == reply.number), None)
        if replica is not None:
            replica.since = time.monotonic()
            if replica.is_late:
                replica.is_late = False
                _warn(f"{_name(replica)} replied after all, and computes again")
        if reply.piece:
            for piece in self._running.get(reply.number, ()):
                if piece.owner.say is not None and not piece.owner.future.done():
                    piece.owner.say(reply.piece)
            return
        if replica is not None:
            replica.job = None
            replica.seconds += reply.seconds
        self._hand_out(self._running.pop(reply.number, []), reply, replica)
        if self._waiting:
            self._dispatch()

    def lose(self, ranks: frozenset[int]) -> None:
        """Give the jobs of ranks that are lost to others."""
        for replica in self.replicas.all:
            if replica.is_lost or not ranks.intersection(replica.ranks):
                continue
            replica.is_lost = replica.is_late = True
            _warn(f"{_name(replica)} is lost; the others continue")
            if replica.job is not None:
                number, replica.job = replica.job, None
                self._move_on(self._running.pop(number, []), number)

    @property
    def is_idle(self) -> bool:
        """True if nothing waits or is computed."""
        return not self._waiting and not self._running

    def _admit(self, samples: int, pieces: int) -> Waiting:
        if self.queued and self.queued + samples > self.max_queue:
            raise Full
        self.queued += samples
        return Waiting(self._loop.create_future(), num_pieces=pieces)

    def _dispatch(self) -> None:
        """Give batches to free replicas."""
        self._planned = False
        if self._dispatching:  # a reply that came at once: the loop below goes on
            return
        self._dispatching = True
        try:
            self._give_batches()
        finally:
            self._dispatching = False

    def _give_batches(self) -> None:
        while self._waiting and (replica := self.replicas.free()) is not None:
            if self.max_delay and self.queued < self.max_batch:
                left = self._waiting[0].came + self.max_delay - time.monotonic()
                if left > 0:
                    if self._timer is not None:
                        self._timer.cancel()
                    self._timer = self._loop.call_later(left, self._dispatch)
                    return
            pieces = self._take()
            number = next(self._numbers)
            parts = [piece.x for piece in pieces if piece.x is not None]
            x = join(parts, self._width) if parts else None
            samples = sum(piece.samples for piece in pieces)
            self.queued -= samples
            self._running[number] = pieces
            for piece in pieces:
                piece.owner.running.add(number)
            replica.jobs, replica.samples = replica.jobs + 1, replica.samples + samples
            self._metrics.batch(samples)
            self.replicas.give(replica, Job(number, x, pieces[0].request), time.monotonic())

    def _take(self) -> list[Piece]:
        """Return the next pieces, of one dtype and at most ``max_batch`` samples."""
        first = self._waiting.popleft()
        pieces, samples = [first], first.samples
        if first.x is None:
            return pieces
        while self._waiting:
            piece = self._waiting[0]
            if piece.x is None or piece.x.dtype != first.x.dtype or samples + piece.samples > self.max_batch:
                break
            samples += piece.samples
            pieces.append(self._waiting.popleft())
        return pieces

    def _hand_out(self, pieces: list[Piece], reply: Reply, replica: Replica | None) -> None:
        start = 0
        for piece in pieces:
            owner, stop = piece.owner, start + piece.samples
            owner.running.discard(reply.number)
            if not owner.future.done():
                if reply.error:
                    owner.future.set_exception(Failed(reply.error, reply.status))
                elif len(pieces) == 1 and owner.num_pieces == 1:
                    owner.future.set_result(reply.result)
                else:
                    owner.results[piece.number] = part_of(reply.result, start, stop)
                    if len(owner.results) == owner.num_pieces:
                        parts = [owner.results[number] for number in range(owner.num_pieces)]
                        owner.future.set_result(concatenate(parts))
            start = stop

    def _check(self) -> None:
        """Give the jobs of replicas that do not reply to others, once."""
        now = time.monotonic()
        for replica in self.replicas.all:
            if replica.job is not None and not replica.is_late and now - replica.since > self._patience:
                replica.is_late = True
                _warn(f"{_name(replica)} has not replied for {now - replica.since:.0f} s (--rank-timeout)")
                self._move_on(self._running.pop(replica.job, []), replica.job)
        if all(replica.is_late for replica in self.replicas.all):
            self.on_lost()
        self._loop.call_later(CHECK, self._check)

    def _move_on(self, pieces: list[Piece], number: int) -> None:
        for piece in reversed(pieces):
            piece.owner.running.discard(number)
            if piece.owner.future.done():
                continue
            if piece.tries or piece.owner.say is not None:
                piece.owner.future.set_exception(Failed("the ranks that computed it do not reply"))
                continue
            piece.tries += 1
            self.queued += piece.samples
            self._waiting.appendleft(piece)
        if self._waiting:
            self._dispatch()


def _name(replica: Replica) -> str:
    ranks = ", ".join(map(str, replica.ranks))
    return f"rank {ranks}" if len(replica.ranks) == 1 else f"the model of ranks {ranks}"


def _warn(text: str) -> None:
    print(f"mpitrain: {text}", file=sys.stderr, flush=True)
