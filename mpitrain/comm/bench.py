"""Time all-reduces against the MPI library's own, on the ranks of this job.

All algorithms of one length run in turn, over and over, and all lengths are gone through in several passes: what
disturbs the machine disturbs all of them alike. Each runs twice in its turn and the second time counts: else the
others' buffers would be in the caches, and a time would depend on what it is compared with. A run is timed from a
barrier to the end of the last rank; the median counts.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..collectives.price import Calibration, Curve, choose
from .meter import real_zeros
from .world import World

NATIVE, AUTO = "native", "auto"
SIZES = tuple(4 << (2 * k) for k in range(13))  # bytes: 4 B to 64 MB
SECONDS = 0.4  # aimed at for one length of one algorithm
MOST_REPEATS = 200
PASSES = 16  # over all lengths: what changes the machine's speed for a while changes a part of each
UNDISTURBED = 0.1  # share of the measurements below what is taken: disturbances only add
TIE = 0.05  # an algorithm that is not so much faster than the library's own loses to it

Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One measurement: what ``bench --json`` writes; ``ratio`` is native over this, above 1 is faster.

    ``us`` and ``native_us`` are medians; ``quiet_us`` is the lowest decile, of an undisturbed machine, which is what
    a calibration takes too and a prediction is of.
    """

    algorithm: str
    ranks: int
    bytes: int
    us: float
    native_us: float
    ratio: float
    quiet_us: float


def bench(
    world: World,
    algorithms: Sequence[str],
    sizes: Sequence[int] = SIZES,
    *,
    say: Say = lambda text: None,
    between: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Measure ``algorithms`` at ``sizes``, "native" always among them; the same rows on every rank.

    Parameters
    ----------
    world : World
    algorithms : sequence of str
    sizes : sequence of int
        Bytes.
    say : callable(str)
        Told what is being measured.
    between : callable()
        Called before each pass, such as to calibrate at the same time.

    Raises
    ------
    AgreedError
        If there is no such algorithm.
    """
    names = list(dict.fromkeys([NATIVE, *algorithms]))
    contests = [_Contest(world, names, n) for n in sizes]
    say(f"measuring {', '.join(names)} at {len(contests)} lengths in {PASSES} passes")
    for _ in range(PASSES):
        between()
        for contest in contests:
            contest.measure()
    rows = []
    for num_bytes, contest in zip(sizes, contests):
        medians, deciles = contest.micros(0.5), contest.micros(UNDISTURBED)
        native = medians[NATIVE]
        for name, us in medians.items():
            quiet = round(deciles[name], 2)
            rows.append(Row(name, world.size, num_bytes, round(us, 2), round(native, 2), round(native / us, 3), quiet))
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


class _Contest:
    """All algorithms at one length, in turn, a few times in each pass."""

    def __init__(self, world: World, names: Sequence[str], num_bytes: int):
        self._world, self._names, self._num_bytes = world, names, num_bytes
        self._shared = world.shared_empty((max(1, num_bytes // 4),)) if "shared" in names else None
        self._samples: list[np.ndarray] = []

    def measure(self) -> None:
        """Plan, run and forget; what lives in a window stays."""
        world = self._world
        plans = [world.plan_all_reduce(self._buffer(name), name) for name in self._names]
        once = sum([_run(world, plan) for plan in plans])
        slowest = float(world.maximum(np.array([once]))[0])
        repeats = int(np.clip(SECONDS * len(plans) / PASSES / max(2 * slowest, 1e-9), 1, MOST_REPEATS // PASSES))
        for _ in range(repeats):
            self._samples.append(np.array([_second_run(world, plan) for plan in plans]))
        for plan in plans:
            plan.free()

    def micros(self, share: float) -> dict[str, float]:
        """Return the microseconds of the slowest rank below which ``share`` of the runs lie, the same on every rank."""
        seconds = self._world.maximum(np.array(self._samples))
        return dict(zip(self._names, (1e6 * np.quantile(seconds, share, axis=0)).tolist()))

    def _buffer(self, name: str) -> np.ndarray:
        return self._shared if name == "shared" and self._shared is not None else real_zeros(self._num_bytes // 4)


def _second_run(world: World, plan: Any) -> float:
    _run(world, plan)
    return _run(world, plan)


def _run(world: World, plan: Any) -> float:
    world.barrier()
    begin = time.perf_counter()
    plan.start()
    plan.wait()
    return time.perf_counter() - begin
