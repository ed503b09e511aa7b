"""Timing of schedules of two ranks, by the plans that run the collectives."""

import time
from collections import defaultdict
from collections.abc import Hashable
from typing import Any

import numpy as np
from mpi4py import MPI

from ...collectives import Algorithm, Step
from ..schedule.native import NativePlan
from ..schedule.plan import Plan, Request
from .pair_patterns import NUM_CHUNKS, TAKING_TURNS, Body, Pair, walk

WALK = 1 << 26  # bytes of the buffer of a walk
SLEEP = 5e-4  # seconds of a late receiver
TAG = 17


class Samples:
    """Measurements by key."""

    def __init__(self) -> None:
        self._found: dict[Hashable, list[float]] = defaultdict(list)

    def add(self, key: Hashable, seconds: float) -> None:
        """Keep one measurement."""
        self._found[key].append(seconds)

    def typical(self, key: Hashable, share: float) -> float:
        """Return the quantile ``share`` (0 to 1) of the measurements."""
        return float(np.quantile(self._found[key], share))


class PairTimer:
    """Times schedules of pairs; the result is the slowest rank's time, on every rank."""

    def __init__(self, comm: Any, yield_cpu: bool):
        self.comm, self._yield_cpu = comm, yield_cpu

    def run(self, body: Body, pair: Pair | None, num_bytes: int, turns: int) -> float:
        """Return the seconds of ``turns`` turns without planning."""
        return self._second(list(body(pair, turns)) if pair else [], NUM_CHUNKS[body], num_bytes)

    def walk(self, kind: str, pair: Pair | None, num_bytes: int) -> float:
        """Return the seconds of a message of ``kind`` from a long buffer."""
        turns = WALK // (2 * num_bytes)
        steps = 2 * turns if kind in TAKING_TURNS else turns
        return self._second(list(walk(pair, turns, kind)) if pair else [], 2 * turns, num_bytes) / steps

    def native(self, num_bytes: int) -> float:
        """Return the seconds of the library's all-reduce."""
        plan = NativePlan(self.comm, real_zeros(num_bytes // 4), yield_cpu=self._yield_cpu)
        self._time(plan)
        return self._time(plan)

    def is_eager(self, pair: Pair | None, num_bytes: int) -> bool:
        """Return whether a message is sent while its receiver sleeps (two of three times)."""
        return float(np.median([self._send_to_sleeper(pair, num_bytes) for _ in range(3)])) <= SLEEP / 2

    def _send_to_sleeper(self, pair: Pair | None, num_bytes: int) -> float:
        buffer = real_zeros(num_bytes // 4)
        seconds = 0.0
        self.comm.Barrier()
        if pair and pair.is_first:
            begin = time.perf_counter()
            self.comm.Send(buffer, pair.peer, TAG)
            seconds = time.perf_counter() - begin
        elif pair:
            time.sleep(SLEEP)
            self.comm.Recv(buffer, pair.peer, TAG)
        return float(self.comm.allreduce(seconds, MPI.MAX))

    def _second(self, steps: list[Step], num_chunks: int, num_bytes: int) -> float:
        """Return the seconds of the second run, since the first one loads the buffers' pages."""
        buffer = real_zeros(num_chunks * max(1, num_bytes // 4))
        algorithm = Algorithm("measured", "all_reduce", lambda rank, size: iter(steps), lambda size: num_chunks)
        plan = Plan(self.comm, algorithm, buffer, tag=TAG, yield_cpu=self._yield_cpu)
        self._time(plan)
        seconds = self._time(plan)
        plan.free()
        return seconds

    def _time(self, plan: Request) -> float:
        self.comm.Barrier()
        begin = time.perf_counter()
        plan.start()
        plan.wait()
        return float(self.comm.allreduce(time.perf_counter() - begin, MPI.MAX))


def real_zeros(length: int) -> np.ndarray:
    """Return at least one zero in written pages: unwritten pages all map to one cached page."""
    out = np.empty(max(1, length), np.float32)
    out.fill(0)
    return out
