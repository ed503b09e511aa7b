"""The measurements of ``mpitrain kernel bench``: each returns rows for a table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..gemm import TILES, Shape
from ..gemm_plan import GemmPlan, make_plan
from ..ladder import RUNGS
from ..planner import Table, choose
from .bench import Bench
from .cases import Linear, products, square
from .peak import peak_flops
from .stopwatch import Contender

MOST_DIFFERENCE = 1e-5  # from cuBLAS's result, by DeepGEMM's measure; planted errors are far above


@dataclass(frozen=True)
class Row:
    """One contender compared with cuBLAS on one shape.

    Attributes
    ----------
    name : str
    kernel : str
        The kernel with its tile and the parts of K.
    seconds, peer_seconds : float
        Medians.
    share : float
        Our speed divided by cuBLAS's: above 1 ours is faster.
    of_peak : float
        Share of the peak rate at the highest clock; 0 if that is unknown.
    difference : float
        Relative difference of the results.
    """

    name: str
    precision: str
    layout: str
    m: int
    n: int
    k: int
    kernel: str
    seconds: float
    peer_seconds: float
    share: float
    tflops: float
    of_peak: float
    difference: float

    @property
    def right(self) -> bool:
        """True if our results and cuBLAS's agree."""
        return self.difference <= MOST_DIFFERENCE


class Runs(Bench):
    """Measurements of products, the smallest first: each row is there when it is measured."""

    def ladder(self, n: int) -> Iterator[Row]:
        """Measure every rung, and the product's kernels, on n x n x n, as far as this GPU can run them."""
        self.say(f"the ladder, {n} x {n} x {n}")
        for inputs in ("fp32", "tf32", "bf16"):
            if self.over():
                return
            shape = Shape(n, n, n, inputs=inputs)
            rungs = [r for r in RUNGS if r.inputs == inputs and r.kernel.fits(self.device.arch)]
            ours = [(r.name.removeprefix("gemm_"), r.name, self.contenders.rung(shape, r)) for r in rungs]
            for name in dict.fromkeys(tile.kernel for tile in self._tiles(shape)):
                made = self._best_of(shape, name)
                ours.append((name, describe(made, shape), self.contenders.ours(shape, made)))
            yield from self._rows(shape, ours) if ours else []

    def squares(self, table: Table, sizes: Mapping[str, Sequence[int]]) -> Iterator[Row]:
        """Measure large squares."""
        shapes = [("square", square(n, inputs)) for inputs, all_sizes in sizes.items() for n in all_sizes]
        return self._all(shapes, table)

    def training(self, table: Table, layers: Sequence[Linear], precisions: Iterable[str]) -> Iterator[Row]:
        """Measure the products of training."""
        shapes = [
            (f"{layer.name}, {what}", shape)
            for inputs in precisions
            for layer in layers
            for what, shape in products(layer, inputs).items()
        ]
        return self._all(shapes, table)

    def _all(self, shapes: list[tuple[str, Shape]], table: Table) -> Iterator[Row]:
        for name, shape in sorted(shapes, key=lambda named: work(named[1])):
            if self.over():
                return
            if self._tiles(shape):
                yield self._planned(name, shape, table)

    def _planned(self, name: str, shape: Shape, table: Table) -> Row:
        self.say(f"{shape.inputs} {name}")
        made = make_plan(
            shape, *choose(shape, self.device.arch, self.device.num_processors, table), self.device.num_processors
        )
        return self._rows(shape, [(name, describe(made, shape), self.contenders.ours(shape, made))])[0]

    def _rows(self, shape: Shape, ours: Sequence[tuple[str, str, Contender]]) -> list[Row]:
        medians = self.stopwatch.medians([*(run for _, _, run in ours), self.contenders.theirs(shape)], self.repeat)
        operations, device = work(shape), self.device
        peak = peak_flops(device.arch, device.num_processors, device.clock_hz, shape.inputs)
        layout = "".join("NT"[t] for t in (shape.transpose_a, shape.transpose_b))
        rows = []
        for (name, what, run), seconds in zip(ours, medians[:-1], strict=True):
            rows.append(
                Row(
                    name,
                    shape.inputs,
                    layout,
                    *(shape.m, shape.n, shape.k),
                    what,
                    *(seconds, medians[-1], medians[-1] / seconds),
                    operations / seconds / 1e12,
                    operations / seconds / peak if peak else 0.0,
                    self.contenders.difference(shape, run),
                )
            )
        return rows

    def _tiles(self, shape: Shape) -> list[Any]:
        return [tile for tile in TILES if tile.takes(shape, self.device.arch)]

    def _best_of(self, shape: Shape, kernel: str) -> GemmPlan:
        """Return the plan of the fastest tile of ``kernel``."""
        plans = [
            make_plan(shape, tile, 1, self.device.num_processors)
            for tile in self._tiles(shape)
            if tile.kernel == kernel
        ]
        runs = [self.contenders.ours(shape, made) for made in plans]
        medians = self.stopwatch.medians(runs, max(3, self.repeat // 4))
        return plans[int(np.argmin(medians))]


def work(shape: Shape) -> float:
    """Return the operations of a product."""
    return 2.0 * shape.m * shape.n * shape.k * shape.batch


def describe(made: GemmPlan, shape: Shape) -> str:
    """Return a short description of a plan."""
    macros = dict(made.kernel.macros)
    rows = macros.get("TILE_M", 128) * macros.get("CLUSTER", 1)
    parts = ", stream-K" if made.is_stream_k else f", K in {made.splits}" if made.splits > 1 else ""
    return f"{made.kernel.name} {rows} x {macros['TILE_N']}{parts}"


def geometric_mean(rows: Iterable[Row]) -> float:
    """Return the geometric mean of the shares."""
    return float(np.exp(np.mean([np.log(row.share) for row in rows])))


def as_dicts(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return rows for a JSON file."""
    return [asdict(row) for row in rows]
