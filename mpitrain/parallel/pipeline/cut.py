"""The cut of a model into stages: contiguous, with the slowest stage as fast as can be.

A dynamic program over (stages, units), twice: the first finds the least time T of the slowest stage, the second the cut
with the least sum of squared times among those whose stages take at most T (so the others are even, too).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...collectives.price.units import say_seconds
from ...errors import UserError
from ...pipelines.price import Costs
from ...pipelines.simulate import Link
from ...plain_text import binary_size
from .demand import StageDemand
from .stages import check_number
from .tables import Recomputed, Tables
from .unit_cost import UnitCost

SHOWN = 16  # stages in a report
STEPS = 8  # of the search for a limit on stages that share a rank


@dataclass(frozen=True)
class Cut:
    """A model cut into stages.

    Attributes
    ----------
    names : tuple of str
        Of all units.
    starts : tuple of int
        First unit of each stage.
    ranks : tuple of int
        Rank of each stage.
    forward, dx, dw : tuple of float
        Seconds of one microbatch on each stage; dx includes a second forward.
    parameters : tuple of int
        Trainable numbers of each stage.
    num_bytes : tuple of int
        Memory of each stage: weights, gradients, optimizer, activations (see ``Tables.num_bytes``).
    """

    names: tuple[str, ...]
    starts: tuple[int, ...]
    ranks: tuple[int, ...]
    forward: tuple[float, ...]
    dx: tuple[float, ...]
    dw: tuple[float, ...]
    parameters: tuple[int, ...]
    num_bytes: tuple[int, ...]

    @property
    def stops(self) -> tuple[int, ...]:
        """The unit after the last of each stage."""
        return (*self.starts[1:], len(self.names))

    @property
    def seconds(self) -> tuple[float, ...]:
        """Time of one microbatch on each stage."""
        return tuple(map(sum, zip(self.forward, self.dx, self.dw, strict=True)))

    @property
    def rank_bytes(self) -> tuple[int, ...]:
        """Memory of each rank."""
        return tuple(int(total) for total in _by_rank(self.num_bytes, self.ranks))

    def costs(self, link: Link | None = None) -> Costs:
        """Return the costs for the price of a schedule: one value for each stage."""
        return Costs(self.forward, self.dx, self.dw, link, in_seconds=True)

    def report(self) -> str:
        """Return the line on the stages, by names of units, and on the slowest of them."""
        spans = [self.span(stage) for stage in range(len(self.starts))]
        if len(spans) > SHOWN:
            spans = [*spans[: SHOWN // 2], "...", *spans[-SHOWN // 2 :]]
        seconds = self.seconds
        slowest = max(range(len(seconds)), key=seconds.__getitem__)
        mean = sum(seconds) / len(seconds) or 1.0
        over = round(100 * (seconds[slowest] / mean - 1))
        return (
            f"stages: units {' | '.join(spans)}; slowest is stage {slowest} (rank {self.ranks[slowest]}): "
            f"{say_seconds(seconds[slowest])} a microbatch, {over}% more than the mean"
        )

    def span(self, stage: int) -> str:
        """Return the names of the units of a stage: "3", or "3-7.1" from the first to the last."""
        first, last = self.names[self.starts[stage]], self.names[self.stops[stage] - 1]
        return first if first == last else f"{first}-{last}"


def cut_stages(
    costs: Sequence[UnitCost],
    demands: Sequence[StageDemand],
    memory: float | None = None,
    *,
    slots: float = 1,
    recompute: Recomputed = "off",
) -> Cut:
    """Return the cut with the fastest slowest stage.

    Parameters
    ----------
    costs : sequence of UnitCost
    demands : sequence of StageDemand
        One for each stage.
    memory : float, optional
        Bytes that each rank has.
    slots : float
        Numbers that the optimizer keeps for each parameter.
    recompute : Recomputed

    Raises
    ------
    UserError
        If there are fewer units than stages, or none of the cuts that are tried fits into the memory.

    Notes
    -----
    Where each rank has one stage, no other cut is faster, and an error means that no cut fits. Where ranks have several
    stages, this is so without a bound on memory; with one, cuts are tried whose stages all stay below some limit.
    """
    check_number(len(costs), len(demands))
    tables = Tables(costs, slots, recompute)
    found = _optimal(tables, demands, np.inf if memory is None else memory)
    if found is None or not _fits(tables, demands, found, memory):
        found = None if memory is None else _search(tables, demands, memory)
    if found is None:
        raise UserError(_refusal(costs, demands, tables, memory or 0.0))
    return _made(costs, demands, tables, found)


def make_cut(
    costs: Sequence[UnitCost],
    demands: Sequence[StageDemand],
    starts: Iterable[int],
    *,
    slots: float = 1,
    recompute: Recomputed = "off",
) -> Cut:
    """Return the cut before the units ``starts`` of stages 1, 2, ..., as chosen by hand (``parse_stages``)."""
    return _made(costs, demands, Tables(costs, slots, recompute), [0, *starts])


def _made(costs: Sequence[UnitCost], demands: Sequence[StageDemand], tables: Tables, starts: Sequence[int]) -> Cut:
    runs = _runs(starts, len(costs))
    again = [demand.again if tables.recompute == "stage" else 0.0 for demand in demands]
    return Cut(
        names=tuple(cost.name for cost in costs),
        starts=tuple(starts),
        ranks=tuple(demand.rank for demand in demands),
        forward=tuple(float(tables.forward[run]) for run in runs),
        dx=tuple(float(tables.dx[run] + more * tables.forward[run]) for run, more in zip(runs, again, strict=True)),
        dw=tuple(float(tables.dw[run]) for run in runs),
        parameters=tuple(int(tables.parameters[run]) for run in runs),
        num_bytes=tuple(int(tables.num_bytes(demand)[run]) for run, demand in zip(runs, demands, strict=True)),
    )


def _optimal(tables: Tables, demands: Sequence[StageDemand], limit: float) -> list[int] | None:
    """Return the first unit of each stage in the best cut whose stages need at most ``limit`` bytes each."""

    def times(stage: int) -> np.ndarray:
        seconds = tables.seconds(demands[stage])
        if limit < np.inf:
            seconds[tables.num_bytes(demands[stage]) > limit] = np.inf
        return seconds

    slowest, _ = _solve(len(demands), times, np.maximum)
    if slowest == np.inf:
        return None

    def squares(stage: int) -> np.ndarray:
        seconds = times(stage)
        seconds[seconds > slowest] = np.inf
        return np.asarray(seconds * seconds)

    return _solve(len(demands), squares, np.add)[1]


def _solve(
    num_stages: int, prices: Callable[[int], np.ndarray], combine: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[float, list[int]]:
    """Return the least combination of the stages' prices, and the first unit of each stage.

    ``prices(stage)[first, last]`` is the price of a run as that stage.
    """
    least = prices(0)[0]  # for the units up to ``last``, by last
    choices: list[np.ndarray] = []
    for stage in range(1, num_stages):
        before = np.concatenate([[np.inf], least[:-1]])[:, None]  # for the units up to ``first - 1``, by first
        table = combine(before, prices(stage))
        choices.append(table.argmin(axis=0))
        least = np.take_along_axis(table, choices[-1][None], axis=0)[0]
    starts, last = [], len(least) - 1
    for choice in reversed(choices):
        starts.append(int(choice[last]))
        last = starts[-1] - 1
    return float(least[-1]), [0, *reversed(starts)]


def _search(tables: Tables, demands: Sequence[StageDemand], memory: float) -> list[int] | None:
    """Return a cut that fits where ranks have several stages: the highest limit on each stage that is found to do."""
    lowest, starts = _leanest(tables, demands)
    found = starts if _fits(tables, demands, starts, memory) else None
    highest = memory
    for _ in range(STEPS if lowest < highest else 0):
        limit = (lowest + highest) / 2
        tried = _optimal(tables, demands, limit)
        if tried is not None and _fits(tables, demands, tried, memory):
            lowest, found = limit, tried
        else:
            highest = limit
    return found


def _leanest(tables: Tables, demands: Sequence[StageDemand]) -> tuple[float, list[int]]:
    """Return the least memory of the largest stage, and the cut."""
    return _solve(
        len(demands),
        lambda stage: np.where(tables.is_run, tables.num_bytes(demands[stage]), np.inf),
        np.maximum,
    )


def _runs(starts: Sequence[int], number: int) -> list[tuple[int, int]]:
    return [(first, stop - 1) for first, stop in pairwise([*starts, number])]


def _by_rank(values: Iterable[float], ranks: Sequence[int]) -> list[float]:
    totals = [0.0] * (max(ranks) + 1)
    for value, rank in zip(values, ranks, strict=True):
        totals[rank] += value
    return totals


def _rank_bytes(tables: Tables, demands: Sequence[StageDemand], starts: Sequence[int]) -> list[float]:
    runs = _runs(starts, len(tables.is_run))
    values = [float(tables.num_bytes(demand)[run]) for demand, run in zip(demands, runs, strict=True)]
    return _by_rank(values, [demand.rank for demand in demands])


def _fits(tables: Tables, demands: Sequence[StageDemand], starts: Sequence[int], memory: float | None) -> bool:
    return memory is None or max(_rank_bytes(tables, demands, starts)) <= memory


def _refusal(costs: Sequence[UnitCost], demands: Sequence[StageDemand], tables: Tables, memory: float) -> str:
    """Return the message that no cut fits: the least memory, the rank that needs it, and what would help."""
    starts = _leanest(tables, demands)[1]
    cut = _made(costs, demands, tables, starts)
    needed = max(cut.rank_bytes)
    rank = cut.rank_bytes.index(needed)
    stages = [stage for stage, owner in enumerate(cut.ranks) if owner == rank]
    weights = sum(cut.parameters[stage] for stage in stages) * 4 * (2 + tables.slots)
    helps = ["more stages"] if len(costs) > len(demands) else []
    if weights < needed / 2:
        helps = ["smaller microbatches", *(["recomputation"] if tables.recompute == "off" else []), *helps]
    also = " or ".join(filter(None, [", ".join(helps[:-1]), *helps[-1:]]))
    where = " and ".join(cut.span(stage) for stage in stages)
    return (
        f"no cut of {len(costs)} units into {len(demands)} stages was found that fits into {binary_size(memory)} for "
        f"each rank: the leanest needs {binary_size(needed)}, on rank {rank} (units {where})"
        + (f"; {also} would help" if also else "")
    )
