"""Prices of messages on the axes of a mesh.

Two readers of the same machine. ``quick`` is the textbook's formula for a hierarchical algorithm that uses all links of
all levels: log2 latencies, and (m - 1) / m of what is left of the buffer through each level. ``exact`` follows the
schedules themselves (``collectives/price``) and takes the fastest. The search sorts by the first and decides by the
second. (Thakur, Rabenseifner & Gropp 2005; Chan et al. 2007.)
"""

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Literal

from ..collectives import find
from ..collectives.price import Calibration, Curve, Pricer, Switch, Wire
from ..errors import ScheduleError, UserError
from .machine import Level, Machine
from .placement import Placed, level_between, place
from .strategy import Strategy

Kind = Literal["all_reduce", "reduce_scatter", "all_gather", "all_to_all"]

ALGORITHMS: dict[str, tuple[str, ...]] = {
    "all_reduce": ("ring", "recursive_doubling", "halving_doubling"),
    "reduce_scatter": ("reduce_scatter/ring", "reduce_scatter/recursive_halving"),
    "all_gather": ("all_gather/ring", "all_gather/recursive_doubling"),
    "all_to_all": ("all_to_all/pairwise",),
}
PASSES = {"all_reduce": 2.0, "reduce_scatter": 1.0, "all_gather": 1.0, "all_to_all": 1.0}
LENGTHS = (1 << 10, 1 << 14, 1 << 17, 1 << 20, 1 << 24, 1 << 30)
MANY = 64
"""Ranks of the largest group whose schedules are followed."""
FOLLOWED = 200_000
BARRIERS = 2  # of a sum in common memory


class Messages:
    """Prices of the messages of one machine.

    Parameters
    ----------
    machine : Machine
    exact : bool
        Follow the schedules; by default the formula.
    """

    def __init__(self, machine: Machine, exact: bool = False):
        self.machine, self.exact = machine, exact
        self._curves: dict[tuple[str, Placed], Curve] = {}
        self._placed: dict[tuple[object, ...], Placed] = {}

    def seconds(self, kind: Kind, strategy: Strategy, axes: Sequence[str], num_bytes: float) -> float:
        """Return the time of a collective of ``num_bytes`` (of the whole buffer) among the ranks of ``axes``.

        The other groups of these axes do the same at the same time, and share the links.
        """
        placed = self.place(strategy, axes)
        if placed.size == 1 or num_bytes <= 0:
            return 0.0
        if not self.exact:
            return self.quick(kind, placed, num_bytes)
        key = kind, placed
        if key not in self._curves:
            self._curves[key] = self._curve(kind, placed)
        return float(self._curves[key](num_bytes))

    def place(self, strategy: Strategy, axes: Sequence[str]) -> Placed:
        """Return where the ranks of ``axes`` lie, found once."""
        key = (*axes, strategy.expert, strategy.pipe, strategy.space, strategy.context, strategy.tensor, strategy.data)
        if key not in self._placed:
            self._placed[key] = place(strategy, axes, self.machine.levels)
        return self._placed[key]

    def neighbor(self, distance: int, num_bytes: float) -> tuple[float, float]:
        """Return the latency of a message to the rank ``distance`` away, and the time for which it keeps the link."""
        level = level_between(distance, self.machine.levels)
        if self.calibration is not None:
            at = self.calibration.at(num_bytes)
            wire = at.inside if level is self.machine.levels[0] else at.across
            latency = wire.one_way.latency + wire.send_overhead + wire.recv_overhead
            return latency, max(0.0, float(wire.one_way(num_bytes)) - wire.one_way.latency)
        return level.latency, num_bytes / level.bandwidth

    @property
    def calibration(self) -> Calibration | None:
        """Measured messages, if there are any."""
        return self.machine.calibration

    def quick(self, kind: Kind, placed: Placed, num_bytes: float) -> float:
        """Return the textbook's price."""
        if self._in_common(placed) and kind == "all_reduce":
            return self._common(placed.size, num_bytes)
        seconds, left = 0.0, num_bytes
        for level, parts in zip(self._levels, placed.steps, strict=True):
            if parts == 1:
                continue
            rounds = float(parts - 1) if kind == "all_to_all" else math.log2(parts)
            sent = (parts - 1) / parts * left
            seconds += PASSES[kind] * (math.ceil(rounds) * level.latency + sent / level.bandwidth)
            left = left if kind == "all_to_all" else left / parts  # what crosses a level is divided by those within
        return seconds

    @cached_property
    def _levels(self) -> tuple[Level, ...]:
        """The levels; those of a calibration have its lines."""
        if self.calibration is None:
            return self.machine.levels
        found = []
        for number, level in enumerate(self.machine.levels):
            wire = self.calibration.inside if number == 0 else self.calibration.across
            line = wire.exchange.fit()
            rate = 1.0 / max(line.beta, 1e-15)
            found.append(Level(level.name, level.ranks, max(0.0, line.alpha), rate, rate))
        return tuple(found)

    def _in_common(self, placed: Placed) -> bool:
        return self.machine.shares_memory and placed.outermost == 0

    def _common(self, size: int, num_bytes: float) -> float:
        """Return the time of a sum in the memory of a node: each rank adds up its part of what all have.

        Memory is read P / P n and written n / P by each rank, all at once; barriers are around it.
        """
        passes = num_bytes * (1.0 + 1.0 / size)
        return passes / self.machine.bandwidth + 2 * BARRIERS * self._levels[0].latency * math.log2(size)

    def _curve(self, kind: Kind, placed: Placed) -> Curve:
        """Return the time over the length by the fastest schedule.

        A group of more than ``MANY`` ranks has the price of a smaller one, times the ratio of both by the formula.
        """
        if self._in_common(placed) and kind == "all_reduce":
            return Curve((n, self._common(placed.size, n)) for n in LENGTHS)
        small = placed
        while small.size > MANY and small.steps[small.outermost] % 2 == 0:
            within = (*(count for count in small.within[: small.outermost]), small.size // 2)
            small = Placed(small.size // 2, within + within[-1:] * (len(small.within) - len(within)))
        per_node = small.within[small.innermost] if small.innermost < small.outermost else 1
        if self.calibration is not None:  # whose wires are those inside a node, and between nodes
            per_node = small.within[0]
        calibration = self._wires(small, per_node)
        found = [
            [pricer.price(n, calibration, Switch(per_node)).seconds * share for n in LENGTHS]
            for pricer, share in self._pricers(kind, small, per_node)
        ]
        if not found or small.size > 2 * MANY:
            return Curve((n, self.quick(kind, placed, n)) for n in LENGTHS)
        best = [min(times) for times in zip(*found, strict=True)]
        ratios = [self.quick(kind, placed, n) / self.quick(kind, small, n) for n in LENGTHS]
        return Curve((n, time * ratio) for n, time, ratio in zip(LENGTHS, best, ratios, strict=True))

    def _pricers(self, kind: Kind, placed: Placed, per_node: int) -> list[tuple[Pricer, float]]:
        """Return the candidates, and the share of their time that counts.

        The two halves of a two-level all-reduce are the two-level reduce-scatter and all-gather.
        """
        names = [(name, 1.0) for name in ALGORITHMS[kind]]
        if kind != "all_to_all" and 1 < per_node < placed.size and placed.size % per_node == 0:
            outer = "ring" if placed.size // per_node <= 32 else "halving_doubling"
            names.append((f"two_level:node={per_node},inner=ring,outer={outer}", PASSES[kind] / 2))
        made = [(_pricer(name, placed.size, per_node), share) for name, share in names]
        return [(pricer, share) for pricer, share in made if pricer is not None]

    def _wires(self, placed: Placed, per_node: int) -> Calibration:
        """Return the wires of a group: those of its innermost and of its outermost level."""
        if self.calibration is not None:
            return self.calibration
        inner, outer = self.machine.levels[placed.innermost], self.machine.levels[placed.outermost]
        gamma = 3.0 / self.machine.bandwidth  # two numbers are read and one is written
        wires = [_wire(inner, per_node), _wire(outer, per_node)]
        return Calibration(wires[0], wires[1], Curve.line(0.0, gamma), overlap=0.9)


def _wire(level: Level, per_node: int) -> Wire:
    """Return the wire of one rank, of which so many share what the node sends for this group."""
    curve = Curve.line(level.latency, 1.0 / level.alone)
    return Wire(curve, curve, capacity=per_node * level.bandwidth)


@lru_cache(maxsize=512)
def _pricer(name: str, size: int, per_node: int) -> Pricer | None:
    try:
        return Pricer(find(name), size, periods=(per_node,), followed=FOLLOWED)
    except (UserError, ScheduleError):
        return None
