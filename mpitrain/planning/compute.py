"""Times of one unit for one microbatch on one rank: by roofline, or as measured on this machine.

A product takes the longer of its operations at the achieved speed, less where a dimension is small, and of its numbers
at the memory's bandwidth (Williams, Waterman & Patterson 2009, "Roofline"). All else is bound by memory. Backward has
two products for each of forward's: dx, and dw, which a schedule may put off.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .machine import Machine
from .precision import Precision
from .strategy import Strategy
from .units import Product, Unit

BACK_TRAFFIC = 1.5  # of the traffic of forward: backward reads what forward kept, too


class Times(NamedTuple):
    """Seconds of forward, of backward without dw, and of dw."""

    forward: float
    dx: float
    dw: float

    @property
    def all(self) -> float:
        """All of them."""
        return self.forward + self.dx + self.dw

    def plus(self, other: "Times") -> "Times":
        """Return the sums."""
        return Times(*(mine + more for mine, more in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Measured:
    """Measured times of a unit: fixed + samples * each.

    Attributes
    ----------
    fixed, each : Times
    """

    fixed: Times
    each: Times

    @classmethod
    def through(cls, few: tuple[float, Times], many: tuple[float, Times]) -> "Measured":
        """Return the line through the times of two numbers of samples; neither part of it is negative.

        >>> Measured.through((1, Times(3.0, 1.0, 1.0)), (3, Times(5.0, 3.0, 1.0))).fixed
        Times(forward=2.0, dx=0.0, dw=1.0)
        """
        (n, low), (m, high) = few, many
        each = [max(0.0, (b - a) / (m - n)) if m > n else b / m for a, b in zip(low, high, strict=True)]
        fixed = [max(0.0, b - slope * m) for b, slope in zip(high, each, strict=True)]
        return cls(Times(*fixed), Times(*each))

    def at(self, samples: float) -> Times:
        """Return the times for so many samples."""
        return Times(*(fixed + samples * each for fixed, each in zip(self.fixed, self.each, strict=True)))


class Compute:
    """Times of units.

    Parameters
    ----------
    machine : Machine
    precision : Precision
    measured : mapping of Unit to Measured, optional
        By the unit without its name. What a division changes is taken from the roofline: a part takes the measured time
        of the whole times the ratio of both.
    """

    def __init__(self, machine: Machine, precision: Precision, measured: Mapping[Unit, Measured] | None = None):
        self.machine, self.precision, self.measured = machine, precision, measured or {}
        self.speed = machine.speed(precision.products)

    def unit(self, unit: Unit, samples: float, strategy: Strategy) -> Times:
        """Return the times of a unit on one rank, without messages."""
        parts = strategy.context * strategy.space
        tokens = strategy.tensor if strategy.sequence and unit.length else 1
        own = self.roofline(unit, samples, parts, strategy.tensor, tokens)
        found = self.measured.get(unit)
        if found is None:
            return own
        whole = self.roofline(unit, samples, 1, 1)
        times = zip(found.at(samples), own, whole, strict=True)
        return Times(*(time * (part / all_of_it if all_of_it else 1.0) for time, part, all_of_it in times))

    def roofline(self, unit: Unit, samples: float, parts: int, tensor: int, tokens: int = 1) -> Times:
        """Return the times by the roofline, with rows divided among ``parts`` ranks and products among ``tensor``.

        All that is outside of the products is divided among ``tokens`` ranks, besides.
        """
        each = sum(self._product(product, product.rows * samples / parts, tensor) for product in unit.products)
        traffic = (unit.traffic / tokens + unit.traffic_cut / tensor) * samples / parts * self.precision.activations
        moved = traffic / self.machine.bandwidth
        calls = self.machine.call * unit.num_ops
        return Times(each + moved + calls, each + BACK_TRAFFIC * moved + calls, each)

    def _product(self, product: Product, rows: float, tensor: int) -> float:
        """Return the time of a product. Ranks of axis expert get rows of each other, as many as they give away."""
        inputs, outputs, number = product.inputs, product.outputs, product.count
        if product.cut == "outputs":
            outputs = outputs / tensor
        elif product.cut == "inputs":
            inputs = inputs / tensor
        elif product.cut == "heads":
            number = number / tensor
        if not rows:
            return 0.0
        operations = 2.0 * rows * inputs * outputs * number
        smallest = min(rows if product.cut != "heads" else product.rows, inputs, outputs)
        speed = self.speed.achieved * smallest / (smallest + self.machine.half)
        numbers = number * (rows * inputs + rows * outputs) * self.precision.activations
        numbers += number * inputs * outputs * self.precision.weights
        return max(operations / speed, numbers / self.machine.bandwidth)

    def update(self, parameters: float, slots: float) -> float:
        """Return the time of the optimizer: weights, gradients and slots are read, and all but gradients written."""
        p = self.precision
        num_bytes = 2 * p.weights + p.gradients + 2 * p.slots(slots)
        return parameters * num_bytes / self.machine.bandwidth
