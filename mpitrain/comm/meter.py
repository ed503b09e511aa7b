"""Take the time of what two ranks do, with the same plans that run the collectives."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from mpi4py import MPI

from ..collectives import Algorithm, Step
from .conversation import NUM_CHUNKS, Body, Pair, ping_pong, walk
from .native import NativePlan
from .plan import Plan, Request

TURNS = 4  # of a run; from LONG bytes on, 2
LONG = 1 << 20
COLD_REPEATS = 5
WALK = 1 << 26  # bytes of the buffer of a walk
SLEEP = 5e-4  # of a late receiver
TAG = 17


class Meter:
    """Runs schedules of pairs and takes their time: the slowest rank's, the same number on every rank."""

    def __init__(self, comm: Any, repeats: int, yield_cpu: bool):
        self.comm, self._repeats, self._yield_cpu = comm, repeats, yield_cpu

    def run(self, body: Body, pair: Pair | None, num_bytes: int, turns: int) -> float:
        """Return the seconds of ``turns`` turns, planning left out."""
        plan = self._plan(list(body(pair, turns)) if pair else [], NUM_CHUNKS[body], num_bytes)
        self._time(plan)  # brings the buffers' pages in
        seconds = self._time(plan)
        plan.free()
        return seconds

    def walks(self, sizes: list[int], kinds: Iterable[str], pair: Pair | None) -> dict[str, list[tuple[int, float]]]:
        """Return, for each kind, the bytes and seconds of messages out of a long buffer."""
        found: dict[str, list[tuple[int, float]]] = {kind: [] for kind in kinds}
        for n in sizes:
            turns = WALK // (2 * n)
            for kind, points in found.items():
                plan = self._plan(list(walk(pair, turns, kind)) if pair else [], 2 * turns, n)
                steps = 2 * turns if kind == "one_way" else turns
                self._time(plan)
                points.append((n, quartile([self._time(plan) / steps for _ in range(COLD_REPEATS)])))
                plan.free()
        return found

    def _plan(self, steps: list[Step], num_chunks: int, num_bytes: int) -> Plan:
        buffer = np.zeros(num_chunks * max(1, num_bytes // 4), np.float32)
        algorithm = Algorithm("measured", "all_reduce", lambda rank, size: iter(steps), lambda size: num_chunks)
        return Plan(self.comm, algorithm, buffer, tag=TAG, yield_cpu=self._yield_cpu)

    def native(self, num_bytes: int) -> float:
        """Return the seconds of the library's all-reduce."""
        plan = NativePlan(self.comm, np.zeros(max(1, num_bytes // 4), np.float32), yield_cpu=self._yield_cpu)
        return self.typical(lambda: self._time(plan))

    def interleaved(
        self, cells: list[tuple[str, int]], kinds: Mapping[str, Body], pair: Pair | None, launch: float
    ) -> dict[tuple[str, int], float]:
        """Return the seconds of one step of each cell (kind, bytes)."""
        found: dict[tuple[str, int], list[float]] = {cell: [] for cell in cells}
        for _ in range(self._repeats):
            for kind, n in cells:
                body, turns = kinds[kind], TURNS if n < LONG else TURNS // 2
                steps = 2 * turns if body is ping_pong else turns
                found[kind, n].append((self.run(body, pair, n, turns) - launch) / steps)
        return {cell: max(0.0, quartile(values)) for cell, values in found.items()}

    def typical(self, measure: Callable[[], float]) -> float:
        """Return the lower quartile of ``repeats`` measurements, the first of all thrown away."""
        measure()
        return quartile([measure() for _ in range(self._repeats)])

    def eager_limit(self, pair: Pair | None, sizes: tuple[int, ...]) -> int:
        """Return the most bytes that are sent while the receiver sleeps, 0 if none are."""
        longest = 0
        for n in sizes:
            waited = self.typical(lambda n=n: self._send_to_sleeper(pair, n))  # type: ignore[misc]
            if waited > SLEEP / 2:
                break
            longest = n
        return longest

    def _send_to_sleeper(self, pair: Pair | None, num_bytes: int) -> float:
        buffer = np.zeros(max(1, num_bytes // 4), np.float32)
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

    def _time(self, plan: Request) -> float:
        self.comm.Barrier()
        begin = time.perf_counter()
        plan.start()
        plan.wait()
        return float(self.comm.allreduce(time.perf_counter() - begin, MPI.MAX))


def quartile(values: list[float]) -> float:
    """Return the lower quartile: disturbances only add."""
    return float(np.percentile(values, 25))
