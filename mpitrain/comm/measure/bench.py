"""Benchmark of all-reduces against MPI's own, on the ranks of this job.

All algorithms of one length run in turn, repeatedly, and all lengths are measured in several passes, so that
disturbances of the machine affect all of them equally. Each runs twice in its turn, and the second time counts:
otherwise the others' buffers would be in the caches, and a time would depend on the other algorithms. A run is timed
from a barrier to the end of the last rank; the result is the median.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...collectives.price import Calibration, Curve, choose
from ..world import World
from .stages import Silent, Stages
from .timing import real_zeros

NATIVE, AUTO = "native", "auto"
SIZES = tuple(4 << (2 * k) for k in range(13))  # bytes: 4 B to 64 MiB
SECONDS = 0.3  # target for one length of one algorithm
MOST_REPEATS = 200
PASSES = 16  # over all lengths, so that a change of the machine's speed affects a part of each
TIE = 0.05  # MPI's own wins unless an algorithm is faster by more than this


@dataclass(frozen=True)
class Row:
    """One measurement, a record of ``bench --json``; ``ratio`` is native time over this time (above 1: faster)."""

    algorithm: str
    ranks: int
    bytes: int
    us: float
    native_us: float
    ratio: float


def bench(
    world: World, algorithms: Sequence[str], sizes: Sequence[int] = SIZES, *, stages: Stages | None = None
) -> list[Row]:
    """Measure ``algorithms`` and "native" at ``sizes`` (bytes); return the same rows on every rank.

    Raises
    ------
    AgreedError
        If there is no such algorithm.
    """
    stages = stages or Silent()
    benchmarks = [SizeBenchmark(world, algorithms, n) for n in sizes]
    names = len(benchmarks[0].names) if benchmarks else 0
    stages.begin(f"{len(benchmarks)} lengths by {names} algorithms, in {PASSES} passes", PASSES * len(benchmarks))
    for _ in range(PASSES):
        for benchmark in benchmarks:
            benchmark.measure()
            stages.step()
    return rows_of(world, benchmarks)


def tune(calibration: Calibration, rows: Sequence[Row]) -> Calibration:
    """Return ``calibration`` with the fastest algorithm of each range of lengths, native in a tie."""
    sizes = sorted({row.bytes for row in rows})
    names = dict.fromkeys(row.algorithm for row in rows)
    cells = {(row.algorithm, row.bytes): 1e-6 * row.us for row in rows}
    best: list[tuple[float, str, float, float]] = []
    for n in sizes:
        native = cells[NATIVE, n]
        _, fastest = min((cells[name, n], name) for name in names if (name, n) in cells)
        last = best[-1][1] if best else NATIVE
        if cells.get((last, n), np.inf) <= (1 + TIE / 2) * cells[fastest, n] and cells[last, n] <= native:
            fastest = last  # no change of algorithm for a tiny gain
        if cells[fastest, n] > (1 - TIE) * native:
            fastest = NATIVE
        if not best or best[-1][1] != fastest:
            best.append((float(n), fastest, cells[fastest, n], native))
    measured = {name: Curve((n, cells[name, n]) for n in sizes if (name, n) in cells) for name in names}
    return calibration.tuned(best, measured)


def auto_choice(world: World, num_bytes: int, calibration: Calibration) -> str:
    """Return the name that ``choose`` returns for this world."""
    return choose(world.size, num_bytes, calibration).name


class SizeBenchmark:
    """Measurement of all algorithms at one length, in turn, a few times per pass; all ranks call it together.

    Parameters
    ----------
    world : World
    algorithms : sequence of str
        "native" is added.
    num_bytes : int
    """

    def __init__(self, world: World, algorithms: Sequence[str], num_bytes: int):
        self.names = list(dict.fromkeys([NATIVE, *algorithms]))
        self.num_bytes = num_bytes
        self._world = world
        self._shared = world.shared_empty((max(1, num_bytes // 4),)) if "shared" in self.names else None
        self._passes: list[np.ndarray] = []

    def measure(self) -> dict[str, float]:
        """Plan, run and free all algorithms once per turn; return this pass's medians, as ``medians`` does."""
        world = self._world
        plans = [world.plan_all_reduce(self._buffer(name), name) for name in self.names]
        once = sum([_run(world, plan) for plan in plans])
        slowest = float(world.maximum(np.array([once]))[0])
        repeats = int(np.clip(SECONDS * len(plans) / PASSES / max(2 * slowest, 1e-9), 1, MOST_REPEATS // PASSES))
        seconds = np.empty((repeats, len(plans)))
        for turn in range(repeats):
            for i in _rotated(len(plans), len(self._passes) + turn):
                seconds[turn, i] = _second_run(world, plans[i])
        seconds = world.maximum(seconds)
        for plan in plans:
            plan.free()
        self._passes.append(seconds)
        return self._median(seconds)

    def medians(self) -> dict[str, float]:
        """Return the median seconds of the slowest rank, the same on every rank."""
        return self._median(np.concatenate(self._passes))

    def _median(self, seconds: np.ndarray) -> dict[str, float]:
        return dict(zip(self.names, np.median(seconds, axis=0).tolist()))

    def _buffer(self, name: str) -> np.ndarray:
        return self._shared if name == "shared" and self._shared is not None else real_zeros(self.num_bytes // 4)


def rows_of(world: World, benchmarks: Sequence[SizeBenchmark]) -> list[Row]:
    """Return the rows of the measurements."""
    rows = []
    for benchmark in benchmarks:
        micros = {name: 1e6 * seconds for name, seconds in benchmark.medians().items()}
        native = micros[NATIVE]
        for name, us in micros.items():
            ratio = round(native / us, 3)
            rows.append(Row(name, world.size, benchmark.num_bytes, round(us, 2), round(native, 2), ratio))
    return rows


def _rotated(length: int, by: int) -> list[int]:
    """Return the order of a turn, rotated so that no algorithm always follows the same other one."""
    return [(i + by) % length for i in range(length)]


def _second_run(world: World, plan: Any) -> float:
    _run(world, plan)
    return _run(world, plan)


def _run(world: World, plan: Any) -> float:
    world.barrier()
    begin = time.perf_counter()
    plan.start()
    plan.wait()
    return time.perf_counter() - begin
