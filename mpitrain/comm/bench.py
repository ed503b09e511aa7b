"""Time all-reduces against the MPI library's own, on the ranks of this job.

All algorithms of one length are planned first and then run in turn, over and over: what disturbs the machine
disturbs all of them alike. Each runs twice in its turn and the second time counts: else the others' buffers would
be in the caches, and a time would depend on what it is compared with. A run is timed from a barrier to the end of
the last rank; the median counts.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..collectives.price import Calibration, Curve, choose
from .world import World

NATIVE, AUTO = "native", "auto"
SIZES = tuple(4 << (2 * k) for k in range(13))  # bytes: 4 B to 64 MB
SECONDS = 0.4  # aimed at for one length of one algorithm
LEAST_REPEATS, MOST_REPEATS = 7, 201
TIE = 0.05  # an algorithm that is not so much faster than the library's own loses to it

Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One measurement: what ``bench --json`` writes; ``ratio`` is native over this, above 1 is faster."""

    algorithm: str
    ranks: int
    bytes: int
    us: float
    native_us: float
    ratio: float


def bench(
    world: World, algorithms: Sequence[str], sizes: Sequence[int] = SIZES, *, say: Say = lambda text: None
) -> list[Row]:
    """Measure ``algorithms`` at ``sizes``, "native" always among them; the same rows on every rank.

    Raises
    ------
    AgreedError
        If there is no such algorithm.
    """
    names = list(dict.fromkeys([NATIVE, *algorithms]))
    rows = []
    for num_bytes in sizes:
        say(f"{num_bytes:,} bytes")
        seconds = _measure(world, names, num_bytes)
        native = seconds[NATIVE]
        for name in names:
            us, native_us = 1e6 * seconds[name], 1e6 * native
            rows.append(
                Row(name, world.size, num_bytes, round(us, 2), round(native_us, 2), round(native / seconds[name], 3))
            )
    return rows


def tune(calibration: Calibration, rows: Sequence[Row]) -> Calibration:
    """Return ``calibration`` with the fastest algorithm of each range of lengths, native where it is a tie."""
    sizes = sorted({row.bytes for row in rows})
    names = dict.fromkeys(row.algorithm for row in rows)
    cells = {(row.algorithm, row.bytes): 1e-6 * row.us for row in rows}
    best: list[tuple[float, str, float, float]] = []
    for n in sizes:
        native = cells[NATIVE, n]
        _, fastest = min((cells[name, n], name) for name in names if (name, n) in cells)
        last = best[-1][1] if best else NATIVE
        if cells.get((last, n), np.inf) <= (1 + TIE / 2) * cells[fastest, n] and cells[last, n] <= native:
            fastest = last  # no change of algorithm for next to nothing
        if cells[fastest, n] > (1 - TIE) * native:
            fastest = NATIVE
        if not best or best[-1][1] != fastest:
            best.append((float(n), fastest, cells[fastest, n], native))
    measured = {name: Curve((n, cells[name, n]) for n in sizes if (name, n) in cells) for name in names}
    return calibration.tuned(best, measured)


def auto_choice(world: World, num_bytes: int, calibration: Calibration) -> str:
    """Return what ``choose`` names for this world."""
    return choose(world.size, num_bytes, calibration).name


def _measure(world: World, names: Sequence[str], num_bytes: int) -> dict[str, float]:
    """Return the median seconds of each algorithm at one length, the same on every rank."""
    buffers = [
        world.shared_empty((max(1, num_bytes // 4),)) if name == "shared" else _zeros(num_bytes) for name in names
    ]
    plans = [world.plan_all_reduce(buffer, name) for name, buffer in zip(names, buffers)]
    for plan in plans:
        _run(world, plan)
    once = sum(_run(world, plan) for plan in plans)
    slowest = float(world.maximum(np.array([once]))[0])
    repeats = int(np.clip(SECONDS * len(names) / max(2 * slowest, 1e-9), LEAST_REPEATS, MOST_REPEATS))
    seconds = np.array([[_second_run(world, plan) for plan in plans] for _ in range(repeats)])
    medians = np.median(world.maximum(seconds), axis=0)
    for plan in plans:
        plan.free()
    return dict(zip(names, medians.tolist()))


def _zeros(num_bytes: int) -> np.ndarray:
    return np.zeros(max(1, num_bytes // 4), np.float32)


def _second_run(world: World, plan: Any) -> float:
    _run(world, plan)
    return _run(world, plan)


def _run(world: World, plan: Any) -> float:
    world.barrier()
    begin = time.perf_counter()
    plan.start()
    plan.wait()
    return time.perf_counter() - begin
