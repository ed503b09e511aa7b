"""Price of a schedule message by message, in plain Python: slow, short, and the oracle of the fast versions.

Rounds only matter for contention: a message belongs to the first round in which both its ends are posted when all
ranks advance in lockstep. Its seconds then depend on the other messages of its round; when it starts, on the clocks
of its two ends.
"""

import numpy as np

from ...errors import ScheduleError
from ..step import Schedule, Step, as_chunks, chunk_runs
from .topology import Network


def exact_times(schedule: Schedule, chunk_bytes: float, network: Network) -> list[float]:
    """Return the time at which each rank finishes.

    Parameters
    ----------
    schedule : Schedule
    chunk_bytes : float
        Length of a chunk.
    network : Network
    """
    size = network.size
    ranks = [
        _Rank(
            rank,
            [s for s in schedule(rank, size) if s.send_to is not None or s.recv_from is not None],
            chunk_bytes,
            network,
        )
        for rank in range(size)
    ]
    while True:
        messages = _ready(ranks)
        if not messages:
            break
        seconds, eager = _transfer(messages, chunk_bytes, network)
        for (sender, receiver), cost, waits_not in zip(messages, seconds, eager):
            begin = sender.posted if waits_not else max(sender.posted, receiver.posted)
            sender.end = max(sender.end, sender.posted if waits_not else begin + cost)
            receiver.end = max(receiver.end, receiver.posted, begin + cost)
            sender.sent = receiver.received = True
        for rank in {id(r): r for pair in messages for r in pair}.values():
            if rank.sent and rank.received:
                rank.advance(chunk_bytes)
    for rank in ranks:
        if rank.step is not None:
            raise ScheduleError(f"rank {rank.number} waits for ever in its round {rank.at}.")
    return [rank.end for rank in ranks]


class _Rank:
    """The clock of one rank: ``posted`` is when its step could begin to move, ``end`` when what it had to do ended."""

    def __init__(self, number: int, steps: list[Step], chunk_bytes: float, network: Network):
        self.number, self._steps, self._network = number, steps, network
        self.at = -1
        self.posted = -np.inf
        self.end = 0.0
        self._gap = 0.0
        self._post(chunk_bytes=chunk_bytes)

    @property
    def step(self) -> Step | None:
        return self._steps[self.at] if self.at < len(self._steps) else None

    def advance(self, chunk_bytes: float) -> None:
        """End the step: do the work that cannot wait, and post the next step."""
        assert self.step is not None
        before, work = self.step, 0.0
        if works(before):
            num_bytes = np.array(chunk_bytes * len(as_chunks(before.recv)))
            work = float(self._network.calibration.work(num_bytes, np.array(before.send_to is not None)))
        self._post(work, before, chunk_bytes)

    def _post(self, work: float = 0.0, before: Step | None = None, chunk_bytes: float = 0.0) -> None:
        self.at += 1
        self.end += work
        step = self.step
        if step is None:
            return
        calibration = self._network.calibration
        hidden = calibration.overlap * work if before is not None and may_wait(before, step) else 0.0
        to, source = (-1 if peer is None else peer for peer in (step.send_to, step.recv_from))
        self.sent, self.received = to < 0, source < 0
        place = np.array([self.number]), np.array([to]), np.array([source])
        ready = self.end - hidden + float(self._network.overhead(*place)[0])
        if len(chunk_runs(step.send)) > 1:
            ready += float(calibration.reduce(chunk_bytes * len(as_chunks(step.send))))
        self.posted = max(ready, self.posted + self._gap)
        self.end = self.posted + hidden
        num_bytes = np.array([chunk_bytes * len(as_chunks(step.send))])
        self._gap = float(self._network.gap(*place, num_bytes)[0])


def works(step: Step) -> bool:
    """Return whether received chunks of ``step`` are reduced, or copied to several places."""
    return step.reduce or len(chunk_runs(step.recv)) > 1


def may_wait(before: Step, step: Step) -> bool:
    """Return whether the work of ``before`` can wait until ``step`` is posted."""
    touched = set(as_chunks(step.send))
    if not works(step):
        touched |= set(as_chunks(step.recv))
    return touched.isdisjoint(as_chunks(before.recv))


def _ready(ranks: list[_Rank]) -> list[tuple[_Rank, _Rank]]:
    """Return sender and receiver of all messages whose two ends are posted and that have not moved yet."""
    found = []
    for sender in ranks:
        if sender.step is not None and not sender.sent:
            assert sender.step.send_to is not None
            receiver = ranks[sender.step.send_to]
            if receiver.step is not None and not receiver.received and receiver.step.recv_from == sender.number:
                found.append((sender, receiver))
    return found


def _transfer(
    messages: list[tuple[_Rank, _Rank]], chunk_bytes: float, network: Network
) -> tuple[np.ndarray, np.ndarray]:
    source, target = (np.array([pair[end].number for pair in messages]) for end in (0, 1))
    steps = [(sender.step, receiver.step) for sender, receiver in messages]
    num_bytes = np.array([chunk_bytes * len(as_chunks(out.send)) for out, _ in steps if out])
    duplex = np.array([out.recv_from is not None or into.send_to is not None for out, into in steps if out and into])
    return network.transfer(source, target, num_bytes, duplex), network.eager(source, target, num_bytes)
