"""The cut of a model into stages: contiguous, with the slowest stage as fast as can be (``partition``)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...collectives.price.units import say_seconds
from ...errors import UserError
from ...pipelines.price import Costs
from ...pipelines.simulate import Link
from ...plain_text import binary_size, count
from .demand import StageDemand
from .partition import Partition
from .tables import PARAMETER_BYTES, Recomputed, Tables
from .unit_cost import UnitCost
from .units import check_number

SHOWN = 16  # stages in a report


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
        Numbers of the parameters of each stage.
    num_bytes : tuple of int
        Memory of each stage: weights, gradients, optimizer, activations (see ``Tables.num_bytes``).
    slowness : tuple of float
        Time that the rank of each stage takes for the same work, relative to the fastest rank.
    """

    names: tuple[str, ...]
    starts: tuple[int, ...]
    ranks: tuple[int, ...]
    forward: tuple[float, ...]
    dx: tuple[float, ...]
    dw: tuple[float, ...]
    parameters: tuple[int, ...]
    num_bytes: tuple[int, ...]
    slowness: tuple[float, ...] = ()

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
        totals = [0] * (max(self.ranks) + 1)
        for rank, num_bytes in zip(self.ranks, self.num_bytes, strict=True):
            totals[rank] += num_bytes
        return tuple(totals)

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
            f"stages: units {' | '.join(spans)}; slowest is stage {slowest}: "
            f"{say_seconds(seconds[slowest])} a microbatch, {over}% more than the mean{self._say_slowness()}"
        )

    def _say_slowness(self) -> str:
        """Return the stages with a slow rank; empty if there are none."""
        slow = [(stage, times) for stage, times in enumerate(self.slowness) if times > 1]
        if not slow:
            return ""
        said = ", ".join(f"{stage} {times:.1f}" for stage, times in slow[:SHOWN])
        return f"; times of the fastest rank that others need for the same work, by stage: {said}"

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
        If there are fewer units than stages, or no cut that fits into the memory is found.

    Notes
    -----
    Of several, the one with the least sum of squared times. No other cut is faster, and an error means that no cut
    fits, except where ranks have several stages, memory is short, and there are too many cuts to try them all
    (``partition.FEW``): then the cut is the best that a search finds.
    """
    check_number(len(costs), len(demands))
    tables = Tables(costs, slots, recompute)
    partition = Partition(tables, demands, math.inf if memory is None else memory)
    found = partition.best()
    if found is None:
        raise UserError(_refusal(_made(costs, demands, tables, partition.leanest()), tables, partition.memory))
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
    runs = Partition(tables, demands).runs(starts)
    again = [demand.again if tables.recompute == "stage" else 0.0 for demand in demands]
    slow = [demand.slowness for demand in demands]
    return Cut(
        names=tuple(cost.name for cost in costs),
        starts=tuple(starts),
        ranks=tuple(demand.rank for demand in demands),
        forward=tuple(float(tables.forward[run] * by) for run, by in zip(runs, slow, strict=True)),
        dx=tuple(
            float((tables.dx[run] + more * tables.forward[run]) * by)
            for run, more, by in zip(runs, again, slow, strict=True)
        ),
        dw=tuple(float(tables.dw[run] * by) for run, by in zip(runs, slow, strict=True)),
        parameters=tuple(int(tables.parameters[run]) for run in runs),
        num_bytes=tuple(int(tables.num_bytes(demand)[run]) for run, demand in zip(runs, demands, strict=True)),
        slowness=tuple(by / min(slow) for by in slow),
    )


def _refusal(cut: Cut, tables: Tables, memory: float) -> str:
    """Return the message that not even ``cut`` fits: the memory of its largest rank, and what would help."""
    needed = max(cut.rank_bytes)
    rank = cut.rank_bytes.index(needed)
    stages = [stage for stage, owner in enumerate(cut.ranks) if owner == rank]
    weights = sum(cut.parameters[stage] for stage in stages) * PARAMETER_BYTES * (2 + tables.slots)
    helps = ["more stages"] if len(cut.names) > len(cut.starts) else []
    if weights < needed / 2:
        helps = ["smaller microbatches", *(["recomputation"] if tables.recompute == "off" else []), *helps]
    also = " or ".join(filter(None, [", ".join(helps[:-1]), *helps[-1:]]))
    return (
        f"no cut of {len(cut.names)} units into {count(len(cut.starts), 'stage')} was found that fits into "
        f"{binary_size(memory)} for each rank: the leanest needs {binary_size(needed)}, on rank {rank} "
        f"(units {' and '.join(map(cut.span, stages))})" + (f"; {also} would help" if also else "")
    )
