"""Costs of all units for one local size, as a table: sums over any stages are one product of matrices.

A model has few kinds of units. With the number of units of each kind in each stage, (S, K), and the costs of each kind,
(K, columns), the costs of the stages are (S, columns).
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from .compute import Compute
from .memory import again_elements, chunk_size, in_turn_elements, kept_elements, move_elements, own_parameters
from .messages import Messages
from .strategy import Again, Strategy
from .units import Model, Unit

MESSAGES = ("tensor", "context", "space", "experts")
COLUMNS = (
    *("forward", "dx", "dw", "forward_again"),
    *(f"{axis}_{way}" for axis in MESSAGES for way in ("there", "back", "again")),
    *("own", "kept", "kept_blocks", "fixed", "turns", "moves"),
)
"""Columns of sums; times contain the messages. ``..._again`` are those of blocks, ``kept_blocks`` what is kept then;
``turns`` are what is used for a time, of all units, where gradients that are put off keep it; ``moves`` the buffers of
messages inside of the units."""
MOST = ("again", "in_turn", "own")
"""Columns of largest values."""
PLACE = {name: place for place, name in enumerate(COLUMNS)}


class Table:
    """Costs of the kinds of units of a model on one rank, for one microbatch.

    Parameters
    ----------
    model : Model
    compute : Compute
    messages : Messages
    strategy : Strategy
    samples : float
        Of the microbatch.
    """

    def __init__(self, model: Model, compute: Compute, messages: Messages, strategy: Strategy, samples: float):
        self.model, self.compute, self.messages, self.samples = model, compute, messages, samples
        rows = [self._row(kind, strategy) for kind in model.kinds]
        self.sums = np.array([row for row, _ in rows])
        self.most = np.array([most for _, most in rows])

    @cached_property
    def unit_seconds(self) -> list[float]:
        """Forward and backward of each unit of the model."""
        seconds = self.sums[:, :3].sum(axis=1)
        return [float(seconds[place]) for place in self.model.kind_of]

    def _row(self, unit: Unit, strategy: Strategy) -> tuple[list[float], list[float]]:
        there, back = unit_messages(unit, strategy, self.samples, self.compute.precision.activations, self.messages)
        forward, dx, dw = self.compute.unit(unit, self.samples, strategy)
        forward, dx = forward + sum(there), dx + sum(back)
        again = float(unit.is_block)
        row = [forward, dx, dw, again * forward]
        for one, other in zip(there, back, strict=True):
            row += [one, other, again * one]
        own, kept = own_parameters(unit, strategy), kept_elements(unit, strategy)
        output = unit.output / (strategy.context * strategy.space)
        row += [own, kept, output if unit.is_block else kept, chunk_size(unit, samples=self.samples) / strategy.tensor]
        in_turn = in_turn_elements(unit, strategy)
        return [*row, in_turn, move_elements(unit, strategy)], [again_elements(unit, strategy), in_turn, own]


def unit_messages(
    unit: Unit, strategy: Strategy, samples: float, size: int, messages: Messages
) -> tuple[list[float], list[float]]:
    """Return the seconds of messages inside of a unit by axis (``MESSAGES``), in forward and in backward."""
    each, price = samples * size / (strategy.context * strategy.space), messages.seconds
    one_sum = price("all_reduce", strategy, ["tensor"], each * unit.summed) if unit.summed else 0.0
    turn = price("all_to_all", strategy, ["context"], each * unit.turned) if unit.turned else 0.0
    routed = 2 * price("all_to_all", strategy, ["expert"], each * unit.routed) if unit.routed else 0.0
    halo = 0.0
    if strategy.space > 1:
        for elements in unit.halos:
            halo += 2 * sum(messages.neighbor(strategy.stride("space"), samples * elements * size))
    return [unit.sums * one_sum, turn, halo, routed], [unit.sums_back * one_sum, turn, halo, routed]


class Stages:
    """The stages of a model, and the costs of each by a ``Table``.

    Parameters
    ----------
    model : Model
    starts : sequence of int
        First unit of each stage.
    pipe : int
        Ranks; stage s is on rank s % pipe.
    """

    def __init__(self, model: Model, starts: Sequence[int], pipe: int):
        self.model, self.starts, self.pipe = model, tuple(starts), pipe
        stops = [*starts[1:], len(model.units)]
        self.counts = np.zeros((len(starts), len(model.kinds)))
        for stage, (first, stop) in enumerate(zip(starts, stops, strict=True)):
            for place in model.kind_of[first:stop]:
                self.counts[stage, place] += 1
        self.has = self.counts > 0
        units = model.units
        self.received = np.array([units[first - 1].output if first else 0.0 for first in starts])
        self.handed = np.array([units[stop - 1].output for stop in stops])
        self.shared = self._shared(stops)

    def _shared(self, stops: Sequence[int]) -> np.ndarray:
        """Return the parameters of each stage that belong to a unit on another rank, (S,)."""
        stage_of = {}
        for stage, (first, stop) in enumerate(zip(self.starts, stops, strict=True)):
            stage_of.update({unit.name: stage for unit in self.model.units[first:stop]})
        found = np.zeros(len(stops))
        for unit in self.model.units:
            if unit.shared and stage_of[unit.shared] % self.pipe != stage_of[unit.name] % self.pipe:
                found[stage_of[unit.name]] += unit.shared_parameters
        return found

    def sums(self, table: Table) -> np.ndarray:
        """Return the sums of the columns of a table, (S, columns)."""
        return np.asarray(self.counts @ table.sums)

    def most(self, table: Table) -> np.ndarray:
        """Return the largest values of each rank, (P, 3)."""
        values = np.where(self.has[:, :, None], table.most[None], 0.0).max(axis=1)
        return np.asarray(self.by_rank(values).max(axis=0))

    def by_rank(self, values: np.ndarray) -> np.ndarray:
        """Return values of stages as (V, P, ...)."""
        return values.reshape(-1, self.pipe, *values.shape[1:])

    def of_ranks(self, values: np.ndarray) -> np.ndarray:
        """Return the sums of values of stages for each rank, (P, ...)."""
        return np.asarray(self.by_rank(values).sum(axis=0))


AGAIN: tuple[Again, ...] = ("off", "blocks", "stage")


def forward_again(sums: np.ndarray, again: Again) -> np.ndarray:
    """Return the seconds of a second forward of each row."""
    if again == "off":
        return np.zeros(len(sums))
    return np.asarray(sums[:, PLACE["forward" if again == "stage" else "forward_again"]])
