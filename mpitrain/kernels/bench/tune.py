"""Measurement of the planner's table: the best tile and split of K of each shape, and the numbers of its model."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from ..gemm import INPUTS, TILES, Shape, Tile
from ..gemm_plan import make_plan, ways_to_cut
from ..plan import ceil_div
from ..planner import Table, shape_key
from .bench import Bench
from .peak import multiply_adds
from .runs import work

WAVES = 4  # K is not split where there are more pieces than this for every multiprocessor
STEP = 64  # the least K that a kernel goes through


class Tuner(Bench):
    """Measurements for the planner."""

    def table(self, shapes: Iterable[Shape], guessed: Table, size: int = 4096) -> Table:
        """Return ``guessed`` with measured numbers; tiles are rated on size x size x size."""
        self.say("latencies and tiles")
        rates = {i: multiply_adds(self.device.arch, i) * self.device.clock_hz / 1e6 for i in guessed.rates}
        rates = {inputs: rate or guessed.rates[inputs] for inputs, rate in rates.items()}
        latency, again = self._latencies()
        return replace(
            guessed,
            measured=True,
            source=f"{self.device.name}, mpitrain kernel bench",
            rates=rates,
            shares={**guessed.shares, **self._shares(rates, size)},
            latency_us=latency,
            launch_us=again,
            bytes_per_us=self.stopwatch.copy_rate(self.repeat) / 1e6,
            shapes=dict(self._all(shapes)),
        )

    def _all(self, shapes: Iterable[Shape]) -> Iterator[tuple[str, tuple[str, int]]]:
        for shape in sorted(shapes, key=work):
            if self._tiles(shape) and not self.over():
                yield shape_key(shape, self.device.arch), self._best(shape)

    def _best(self, shape: Shape) -> tuple[str, int]:
        choices = [(tile, splits) for tile in self._tiles(shape) for splits in self._splits(shape, tile)]
        self.say(f"{shape_key(shape, self.device.arch)}: {len(choices)} ways")
        seconds = self._times(shape, choices)
        tile, splits = choices[int(np.argmin(seconds))]
        return tile.name, splits

    def _splits(self, shape: Shape, tile: Tile) -> list[int]:
        pieces = ceil_div(shape.m, tile.m) * ceil_div(shape.n, tile.n) * shape.batch * tile.cluster
        most = max(1, WAVES * self.device.num_processors // pieces)
        return [splits for splits in ways_to_cut(shape, tile, self.device.num_processors) if splits <= most]

    def _shares(self, rates: dict[str, float], size: int) -> dict[str, float]:
        """Return the share of a multiprocessor's peak that each tile reaches, the mean over types of inputs."""
        found: dict[str, list[float]] = {}
        for inputs in rates:
            shape = Shape(size, size, size, inputs=inputs)
            tiles = [tile for tile in self._tiles(shape) if inputs in INPUTS[tile.kernel]]
            for tile, seconds in zip(tiles, self._times(shape, [(tile, 1) for tile in tiles]), strict=True):
                rate = size**3 / (1e6 * seconds * self.device.num_processors)
                found.setdefault(tile.name, []).append(rate / rates[inputs])
        return {name: float(np.mean(shares)) for name, shares in found.items()}

    def _latencies(self) -> tuple[float, float]:
        """Return the microseconds of a block with almost no work, and of a second launch that sums."""
        tile = min(TILES, key=lambda tile: tile.m * tile.n)
        shape = Shape(tile.m, tile.n, STEP)
        longer = replace(shape, k=2 * STEP)
        short = self._times(shape, [(tile, 1)])[0]
        whole, cut = self._times(longer, [(tile, 1), (tile, 2)])
        return 1e6 * short, max(0.1, 1e6 * (cut - whole))

    def _times(self, shape: Shape, choices: Iterable[tuple[Tile, int]]) -> list[float]:
        plans = [make_plan(shape, tile, splits, self.device.num_processors) for tile, splits in choices]
        runs = [self.contenders.ours(shape, made) for made in plans]
        return self.stopwatch.medians(runs, self.repeat) if runs else []

    def _tiles(self, shape: Shape) -> list[Tile]:
        return [tile for tile in TILES if tile.takes(shape, self.device.arch)]
