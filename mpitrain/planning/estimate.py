"""Time and memory of one strategy.

step = pipeline of (compute + messages of tensor, context, experts, space)  bubble included
     + gradients that backward does not hide  + weights that are gathered  + update
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .compute import Compute, Measured, Times
from .exchange import Exchange
from .machine import Machine
from .memory import Memory, Ranks
from .messages import Messages
from .precision import Precision
from .schedules import Held, exact_held, exact_step, quick_held, quick_step
from .stages import cut_evenly
from .strategy import Again, Strategy
from .tables import MESSAGES, PLACE, Stages, Table, forward_again
from .units import Model, Unit

PARTS = ("compute", *MESSAGES, "bubble", "gradients", "weights", "update")
FOLLOWED_TASKS = 4096  # up to which microbatches held are counted in the schedule


@dataclass(frozen=True)
class Estimate:
    """Predicted step of one strategy.

    Attributes
    ----------
    strategy : Strategy
    seconds : float
    parts : dict of str to float
        Where the time goes (``PARTS``), on the slowest rank of a pipeline; they add up to ``seconds``.
    memory : Memory
        Of the heaviest rank.
    heaviest : int
        Its place on axis pipe.
    starts : tuple of int
        First unit of each stage.
    samples : float
        Of one microbatch.
    """

    strategy: Strategy
    seconds: float
    parts: dict[str, float] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    heaviest: int = 0
    starts: tuple[int, ...] = (0,)
    samples: float = 1.0


@dataclass(frozen=True)
class Work:
    """A training, beside its model and machine.

    Attributes
    ----------
    batch : int
        Samples of a step.
    precision : Precision
    slots : float
        Numbers that the optimizer keeps of each parameter.
    """

    batch: int
    precision: Precision
    slots: float = 2.0


class Estimator:
    """Prices of strategies for one model on one machine.

    Parameters
    ----------
    model : Model
    machine : Machine
    work : Work
    measured : mapping of Unit to Measured, optional
    exact : bool
        Follow the schedules of collectives and pipelines; by default formulas.
    """

    def __init__(
        self,
        model: Model,
        machine: Machine,
        work: Work,
        measured: Mapping[Unit, Measured] | None = None,
        exact: bool = False,
    ):
        self.model, self.machine, self.work, self.exact = model, machine, work, exact
        self.measured = measured
        self.compute = Compute(machine, work.precision, measured)
        self.messages = Messages(machine, exact)
        self.exchange = Exchange(self.messages, self.compute, work.slots)
        self._tables: dict[tuple[float, ...], Table] = {}
        self._stages: dict[tuple[int, ...], Stages] = {}

    def on(self, machine: Machine) -> "Estimator":
        """Return the estimator for another machine."""
        return Estimator(self.model, machine, self.work, self.measured, self.exact)

    def samples(self, strategy: Strategy) -> float:
        """Return the samples of the largest microbatch of a rank."""
        share = math.ceil(self.work.batch / (strategy.data * strategy.expert))
        return float(math.ceil(share / strategy.microbatches))

    def estimate(self, strategy: Strategy) -> Estimate:
        """Return time and memory."""
        return self.estimate_all(strategy, [(strategy.shard, strategy.again)])[0]

    def estimate_all(self, strategy: Strategy, variants: Sequence[tuple[int, Again]]) -> list[Estimate]:
        """Return time and memory with several (sharding, recomputation), for which most is computed once."""
        n = self.samples(strategy)
        table = self._table(strategy, n)
        stages = self._cut(strategy, table)
        sums = stages.sums(table)
        ranks, most = stages.of_ranks(sums), stages.most(table)
        steps: dict[Again, tuple[dict[str, float], float, Times]] = {}
        found = []
        for shard, again in variants:
            one = replace(strategy, shard=shard, again=again)
            if again not in steps:
                steps[again] = self._pipeline(one, n, sums, ranks, stages)
            parts, pipeline, slowest = steps[again]
            memory, heaviest = self._memory(one, n, sums, most, stages)
            parts = parts | self.exchange.parts(one, float(ranks[:, PLACE["own"]].max()), slowest)
            seconds = pipeline + sum(parts[name] for name in ("gradients", "weights", "update"))
            found.append(Estimate(one, seconds, parts, memory, heaviest, stages.starts, n))
        return found

    def _table(self, strategy: Strategy, n: float) -> Table:
        s = strategy
        key = (n, s.tensor, s.context, s.space, s.expert, s.sequence)
        if key not in self._tables:
            self._tables[key] = Table(self.model, self.compute, self.messages, strategy, n)
        return self._tables[key]

    def _cut(self, strategy: Strategy, table: Table) -> Stages:
        s = strategy
        key = (s.pipe, s.chunks, s.tensor, s.context, s.space, s.expert)
        if key not in self._stages:
            starts = [0] if s.stages == 1 else cut_evenly(table.unit_seconds, s.stages)
            self._stages[key] = Stages(self.model, starts, s.pipe)
        return self._stages[key]

    def _pipeline(
        self, strategy: Strategy, n: float, sums: np.ndarray, ranks: np.ndarray, stages: Stages
    ) -> tuple[dict[str, float], float, Times]:
        """Return where the time of the pipeline goes, its time, and those of a microbatch on the slowest rank."""
        m, again = strategy.microbatches, strategy.again
        repeated = forward_again(ranks, again)
        totals = ranks[:, :3].sum(axis=1) + repeated
        slow = int(totals.argmax())
        forward, dx, dw = (float(value) for value in ranks[slow, :3])
        slowest = Times(forward, dx + float(repeated[slow]), dw)
        seconds = m * slowest.all
        if strategy.pipe > 1:
            seconds = self._schedule(strategy, n, sums, ranks, stages)
        parts = {}
        for axis in MESSAGES:
            there, back, of_blocks = (float(ranks[slow, PLACE[f"{axis}_{way}"]]) for way in ("there", "back", "again"))
            more = {"off": 0.0, "blocks": of_blocks, "stage": there}[again]
            parts[axis] = m * (there + back + more)
        parts["compute"] = m * slowest.all - sum(parts.values())
        parts["bubble"] = max(0.0, seconds - m * slowest.all)
        return parts, seconds, slowest

    def _schedule(self, strategy: Strategy, n: float, sums: np.ndarray, ranks: np.ndarray, stages: Stages) -> float:
        elements = float(stages.handed[:-1].max()) / (strategy.context * strategy.space)
        link = self.messages.neighbor(strategy.stride("pipe"), n * elements * self.work.precision.activations)
        rows = sums if self.exact else ranks
        dx = rows[:, 1] + forward_again(rows, strategy.again)
        times = [Times(*values) for values in zip(rows[:, 0].tolist(), dx.tolist(), rows[:, 2].tolist(), strict=True)]
        schedule, chunks, m = strategy.schedule, strategy.chunks, strategy.microbatches
        if not self.exact:
            return quick_step(schedule, chunks, m, times, sum(link))
        found = exact_step(schedule, chunks, strategy.pipe, m, times, link)
        return math.inf if found is None else found

    def _held(self, strategy: Strategy) -> Held:
        m, size = strategy.microbatches, strategy.pipe
        if size == 1:
            return Held((1.0,), (0.0,))
        if self.exact and m * size * strategy.chunks <= FOLLOWED_TASKS:
            found = exact_held(strategy.schedule, strategy.chunks, size, m)
            if found is not None:
                return found
        return quick_held(strategy.schedule, strategy.chunks, size, m)

    def _memory(
        self, strategy: Strategy, n: float, sums: np.ndarray, most: np.ndarray, stages: Stages
    ) -> tuple[Memory, int]:
        """Return the memory of the heaviest rank, and its place on axis pipe."""
        found = self._held(strategy)
        held, late = np.array(found.held), np.array(found.late)
        parts, again = strategy.context * strategy.space, strategy.again
        kept = sums[:, PLACE["kept"]]
        inside = most[:, 0] if again == "blocks" else np.zeros(strategy.pipe)
        if again == "stage":
            inside, kept = stages.of_ranks(kept), stages.handed / parts
        elif again == "blocks":
            kept = sums[:, PLACE["kept_blocks"]]
        in_turn = most[:, 1]
        if late.any():
            in_turn = np.maximum(in_turn, stages.of_ranks(late * sums[:, PLACE["turns"]]))
        borders = (stages.received + stages.handed) / parts if strategy.stages > 1 else np.zeros(len(held))
        own = stages.of_ranks(sums[:, PLACE["own"]] + stages.shared / strategy.tensor)
        ranks = Ranks(
            own=own,
            fixed=stages.of_ranks(sums[:, PLACE["fixed"]]),
            kept=stages.of_ranks(held * (stages.received / parts + kept)),
            again=inside,
            in_turn=in_turn,
            borders=stages.of_ranks(borders),
            moves=stages.of_ranks(sums[:, PLACE["moves"]]),
            largest=most[:, 2],
        )
        return ranks.memory(strategy, n, self.work.precision, self.work.slots, self._common(strategy))

    def _common(self, strategy: Strategy) -> int:
        """Return the number of ranks that share one copy of the weights: those of a node, if they are all that sum."""
        axes = ("data", "space", "context")
        if strategy.shard != 1 or not self.machine.shares_memory:
            return 1
        placed = self.messages.place(strategy, axes)
        return placed.size if placed.outermost == 0 else 1
