"""Memory of each rank: weights, gradients, optimizer, activations held by the schedule, and what is used in turn.

ZeRO stage     weights    gradients    slots          of P ranks (Rajbhandari et al. 2020, arXiv 1910.02054)
0              w          g            s
1              w          g            s / P
2              w          g / P        s / P          and the gradients of a bucket
3              w / P      g / P        s / P          and the weights of two units
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .precision import Precision
from .schedules import AHEAD
from .strategy import Strategy
from .units import Unit

BUCKET = 25 << 20
"""Bytes of a bucket of gradients."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank."""

    weights: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0
    activations: float = 0.0
    in_turn: float = 0.0
    messages: float = 0.0

    @property
    def all(self) -> float:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.in_turn + self.messages


def own_parameters(unit: Unit, strategy: Strategy) -> float:
    """Return the parameters of a unit on one rank."""
    tensor = strategy.tensor
    cut = unit.parameters_cut + unit.parameters_expert / strategy.expert
    return unit.parameters + cut / tensor + unit.parameters_rows / strategy.expert


def zero(parameters: float, precision: Precision, slots: float, shard: int, ranks: int) -> Memory:
    """Return the memory of weights, gradients and optimizer of a rank, of ``ranks`` that share them by ZeRO.

    Examples
    --------
    7.5 billion parameters on 64 ranks, 16 bytes each (Rajbhandari et al. 2020, figure 1):

    >>> mixed = Precision("mixed", "bf16", 2, 2, 2, 4)
    >>> [round(zero(7.5e9, mixed, 2, stage, 64).all / 1e9, 1) for stage in range(4)]
    [120.0, 31.4, 16.6, 1.9]
    """
    share = [ranks if shard >= stage else 1 for stage in (3, 2, 1)]
    return Memory(
        parameters * precision.weights / share[0],
        parameters * precision.gradients / share[1],
        parameters * precision.slots(slots) / share[2],
    )


def kept_elements(unit: Unit, strategy: Strategy) -> float:
    """Return the elements that a rank keeps of a unit for one sample.

    Axis tensor divides heads and columns inside of the products; with sequence parallelism (Korthikanti et al. 2022,
    arXiv 2205.05198) it divides the tokens outside, too.
    """
    parts = strategy.context * strategy.space
    whole = unit.kept / strategy.tensor if unit.length and strategy.sequence else unit.kept
    return (whole + unit.kept_cut / strategy.tensor) / parts


@dataclass(frozen=True)
class Ranks:
    """Numbers of all ranks of a pipeline, as arrays (P,), from which the memory of each follows at once.

    Attributes
    ----------
    own, fixed : array
        Parameters, and bytes for any number of samples.
    kept, again, in_turn : array
        Elements of one sample: those held by microbatches in flight (times their number), those computed again, and
        those used in turn.
    borders, moves : array
        Elements of one sample that are received and handed on, and of buffers of messages inside of units.
    largest : array
        Parameters of the largest unit.
    """

    own: np.ndarray
    fixed: np.ndarray
    kept: np.ndarray
    again: np.ndarray
    in_turn: np.ndarray
    borders: np.ndarray
    moves: np.ndarray
    largest: np.ndarray

    def memory(
        self, strategy: Strategy, samples: float, precision: Precision, slots: float, common: int = 1
    ) -> tuple[Memory, int]:
        """Return the memory of the heaviest rank, and its number; as ``rank_memory`` adds it up for one.

        ``common`` ranks have one copy of the weights in the memory of their node, and no buckets.
        """
        shares = strategy.data * strategy.context * strategy.space
        base = zero(1.0, precision, slots, strategy.shard, shares)
        base = replace(base, weights=base.weights / common)
        size = samples * precision.activations
        buckets = np.minimum(2.0 * BUCKET, self.own * precision.gradients) if shares > 1 and common == 1 else 0.0
        messages = (AHEAD * self.borders + self.moves) * size + buckets
        if strategy.shard == 3 and shares > 1:
            messages = messages + 2 * self.largest * (precision.weights + precision.gradients)
        in_turn = (self.in_turn + self.again) * size + self.fixed
        activations = self.kept * size
        total = self.own * (base.weights + base.gradients + base.optimizer) + activations + in_turn + messages
        rank = int(total.argmax())
        own = float(self.own[rank])
        return Memory(
            own * base.weights,
            own * base.gradients,
            own * base.optimizer,
            float(activations[rank]),
            float(in_turn[rank]),
            float(messages[rank]),
        ), rank


def rank_memory(
    stages: Sequence[Sequence[Unit]],
    firsts: Sequence[float],
    strategy: Strategy,
    samples: float,
    held: Sequence[float],
    late: Sequence[float],
    precision: Precision,
    slots: float,
) -> Memory:
    """Return the memory of one rank, unit by unit: the simple form of ``Ranks.memory``.

    Parameters
    ----------
    stages : sequence of sequence of Unit
        Units of each of its stages.
    firsts : sequence of float
        Elements that each stage receives, for one sample (0 for samples, which lie with the loader).
    samples : float
        Of a microbatch.
    held, late : sequence of float
        Microbatches of each stage that are kept at most; and those whose W is late.
    """
    units = [unit for stage in stages for unit in stage]
    names = {unit.name for unit in units}
    own = [
        own_parameters(unit, strategy) + (unit.shared_parameters / strategy.tensor if unit.shared not in names else 0.0)
        for unit in units
    ]
    shares = strategy.data * strategy.context * strategy.space
    base = zero(sum(own), precision, slots, strategy.shard, shares)
    parts, act = strategy.context * strategy.space, precision.activations
    activations = 0.0
    for stage, first, number in zip(stages, firsts, held, strict=True):
        activations += number * _kept(stage, first / parts, strategy) * samples * act
    in_turn = max((in_turn_elements(unit, strategy) for unit in units), default=0.0)
    if any(late):  # gradients that are put off keep their dy
        kept = (sum(in_turn_elements(unit, strategy) for unit in stage) for stage in stages)
        in_turn = max(in_turn, sum(number * size for number, size in zip(late, kept, strict=True)))
    in_turn = (in_turn + _again(units, strategy)) * samples * act
    in_turn += sum(chunk_size(unit, samples) for unit in units) / strategy.tensor
    borders = [*firsts, *(stage[-1].output for stage in stages)] if strategy.stages > 1 else []
    messages = AHEAD * sum(borders) / parts * samples * act
    messages += sum(move_elements(unit, strategy) for unit in units) * samples * act
    if strategy.data * parts > 1:
        messages += min(2.0 * BUCKET, sum(own) * precision.gradients)
    if strategy.shard == 3 and shares > 1:
        messages += (
            2 * max(own_parameters(unit, strategy) for unit in units) * (precision.weights + precision.gradients)
        )
    return Memory(base.weights, base.gradients, base.optimizer, activations, in_turn, messages)


def _kept(stage: Sequence[Unit], first: float, strategy: Strategy) -> float:
    """Return the elements of one sample that a stage keeps of a microbatch in flight."""
    if strategy.again == "stage":
        return first + stage[-1].output / (strategy.context * strategy.space)
    total = first
    for unit in stage:
        if strategy.again == "blocks" and unit.is_block:
            total += unit.output / (strategy.context * strategy.space)
        else:
            total += kept_elements(unit, strategy)
    return total


def _again(units: Sequence[Unit], strategy: Strategy) -> float:
    """Return the elements that are computed again at one time."""
    if strategy.again == "stage":
        return sum(kept_elements(unit, strategy) for unit in units)
    if strategy.again == "blocks":
        return max((again_elements(unit, strategy) for unit in units), default=0.0)
    return 0.0


def move_elements(unit: Unit, strategy: Strategy) -> float:
    """Return the elements of the buffers of messages inside of a unit, for one sample: each keeps its own."""
    found = (unit.sums + unit.sums_back) * unit.summed if strategy.tensor > 1 else 0.0
    found += 2 * unit.turned if strategy.context > 1 else 0.0  # in forward and in backward
    found += 4 * unit.routed if strategy.expert > 1 else 0.0  # the same, there and back
    return found / (strategy.context * strategy.space)


def chunk_size(unit: Unit, samples: float) -> float:
    """Return the bytes of a unit that does not keep all of its results at once."""
    return min(unit.chunk_limit, unit.chunk_bytes * samples)


def again_elements(unit: Unit, strategy: Strategy) -> float:
    """Return the elements inside of a unit that may be computed again, for one sample."""
    return kept_elements(unit, strategy) if unit.is_block else 0.0


def in_turn_elements(unit: Unit, strategy: Strategy) -> float:
    """Return the elements that a unit uses for a time, for one sample."""
    whole = unit.in_turn / strategy.tensor if unit.length and strategy.sequence else unit.in_turn
    return (whole + unit.in_turn_cut / strategy.tensor) / (strategy.context * strategy.space)
