"""Recorder of traces: begin and end of each step of each rank on one clock.

Clocks of different nodes have different origins. Each rank asks rank 0 for its time several times and keeps the fastest
answer, whose error is at most half of the round trip (Cristian 1989, "Probabilistic clock synchronization").
"""

import time
from dataclasses import replace

import numpy as np

from ...collectives import Algorithm, as_chunks
from ...collectives.draw.trace import Trace, TraceEvent
from ..ranks import Ranks
from ..schedule.plan import Plan
from ..schedule.rounds import Round
from ..world import World

PINGS = 40
WARM_UPS = 3
TAG = 19


def record(world: World, algorithm: Algorithm, num_bytes: int, repeats: int = 9) -> Trace | None:
    """Run ``algorithm`` on float32 and return the trace of the run of median length, on rank 0; None elsewhere.

    Every rank calls it.

    Parameters
    ----------
    num_bytes : int
        Length of the buffer; rounded up so that every chunk has an element.
    repeats : int
        Number of runs; the one of median length is returned.
    """
    num_chunks = algorithm.num_chunks(world.size)
    num_elements = -(-max(num_bytes // 4, num_chunks) // num_chunks) * num_chunks
    buffer = np.ones(num_elements, np.float32)
    plan = world.plan(algorithm, buffer)
    assert isinstance(plan, Plan), "on NumPy arrays"
    rounds = [_Watch(r) for r in plan._rounds]
    plan.arrange()
    offset, error = clock_offset(world)
    steps = _messages(algorithm, world, buffer.nbytes)
    runs = []
    for number in range(WARM_UPS + repeats):
        buffer[...] = 1
        world.barrier()
        plan.start()
        plan.wait()
        if number >= WARM_UPS:
            runs.append([_event(world.rank, s, r, offset) for s, r in zip(steps, rounds, strict=True)])
    everything = world.all_gather((runs, error))
    plan.free()
    if world.rank:
        return None
    traces = [
        Trace(
            algorithm=algorithm.name,
            size=world.size,
            num_bytes=buffer.nbytes,
            events=[event for runs, _ in everything for event in runs[number]],
            clock_error=max(error for _, error in everything),
            library=world.mpi_version,
        )
        for number in range(repeats)
    ]
    return _from_zero(sorted(traces, key=lambda trace: trace.seconds)[repeats // 2])


class _Watch:
    """Records the times at which a round of a plan starts and its received elements are in place."""

    def __init__(self, watched: Round):
        self.began = self.ended = 0.0
        watched.copies.insert(0, self._begin)
        watched.finishes.append(self._end)

    def _begin(self) -> None:
        self.began = time.perf_counter()

    def _end(self) -> None:
        self.ended = time.perf_counter()


def _messages(algorithm: Algorithm, world: World, num_bytes: int) -> list[tuple[int, int | None, int]]:
    """Return number, peer and bytes of this rank's steps with messages."""
    chunk = num_bytes * algorithm.chunk_share(world.size)
    found = []
    for number, step in enumerate(algorithm(world.rank, world.size)):
        chunks, peer = (step.send, step.send_to) if step.send is not None else (step.recv, step.recv_from)
        if len(as_chunks(step.send)) or len(as_chunks(step.recv)):
            found.append((number, peer, round(chunk * len(as_chunks(chunks)))))
    return found


def _event(rank: int, step: tuple[int, int | None, int], timed: _Watch, offset: float) -> TraceEvent:
    number, peer, num_bytes = step
    return TraceEvent(rank, number, timed.began + offset, timed.ended + offset, peer, num_bytes)


def clock_offset(ranks: Ranks) -> tuple[float, float]:
    """Return the offset of rank 0's clock from this rank's, and the bound of its error."""
    best, error = 0.0, float("inf") if ranks.rank else 0.0
    comm, theirs = ranks._comm, np.zeros(1)
    for rank in range(1, ranks.size):
        for _ in range(PINGS if ranks.rank in (0, rank) else 0):
            if ranks.rank == 0:
                comm.Recv(theirs, rank, TAG)
                theirs[0] = time.perf_counter()
                comm.Send(theirs, rank, TAG)
                continue
            asked = time.perf_counter()
            comm.Send(theirs, 0, TAG)
            comm.Recv(theirs, 0, TAG)
            answered = time.perf_counter()
            if (answered - asked) / 2 < error:
                best, error = float(theirs[0]) - (asked + answered) / 2, (answered - asked) / 2
    return best, error


def _from_zero(trace: Trace) -> Trace:
    first = min((event.start for event in trace.events), default=0.0)
    moved = [replace(event, start=event.start - first, end=event.end - first) for event in trace.events]
    return replace(trace, events=moved)
