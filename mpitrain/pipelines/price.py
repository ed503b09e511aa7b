"""Prices of pipeline schedules: step time, bubble by cause and memory, from the times of stages and of messages."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..collectives.price import Calibration
from ..collectives.price.units import say_seconds
from ..errors import UserError
from .idle import CAUSES, Idle, find_idle, shares
from .pipeline import Pipeline
from .program import Program, make_program
from .simulate import Durations, Link, Timeline, simulate

CANDIDATES = (
    "1f1b",
    "gpipe",
    "interleaved:chunks=2",
    "breadth_first:chunks=2",
    "zb_h1",
    "greedy:memory=1",
    "greedy:memory=0.5",
)
"""Schedules that are compared if none is named."""


@dataclass(frozen=True)
class Costs:
    """Times of one microbatch on parts of the model, from the first layers to the last, and of messages.

    Parameters
    ----------
    forward, backward, weights : tuple of float
        Times of F, of dx and of dw: one for every P-th part of the model, or P, 2P, ... for so many equal parts of it.
        A stage takes its share of the parts that it covers; B takes dx and dw where a schedule does not split it.
    link : callable(sender, receiver), optional
        Latency of a message and time for which it keeps the link busy; by default messages take no time.
    in_seconds : bool
        True if times are seconds; else units, of which only ratios matter.
    """

    forward: tuple[float, ...] = (1.0,)
    backward: tuple[float, ...] = (1.0,)
    weights: tuple[float, ...] = (1.0,)
    link: Link | None = None
    in_seconds: bool = False

    def durations(self, program: Program) -> list[list[float]]:
        """Return the time of each task.

        Raises
        ------
        UserError
            If the number of values is neither 1 nor that of the stages nor a multiple of P.
        """
        times = {"F": self.forward, "B": self.backward, "W": self.weights}
        for kind, values in times.items():
            if not values or (len(values) not in (1, program.num_stages) and len(values) % program.size):
                raise UserError(
                    f"{len(values)} times of {NAMES[kind]} are given, but there must be 1, or one for each of "
                    f"{program.size} ranks (or stages, if a rank has several)"
                )
        stages = range(program.num_stages)
        cost = {kind: [_share(values, stage, program) for stage in stages] for kind, values in times.items()}
        if not program.is_split:
            cost["B"] = [dx + dw for dx, dw in zip(cost["B"], cost["W"], strict=True)]
        return [[cost[task.kind][task.stage] for task in own] for own in program.tasks]


NAMES = {"F": "forward", "B": "backward (dx)", "W": "weights (dw)"}


def _share(values: Sequence[float], stage: int, program: Program) -> float:
    """Return the time of a stage, the S-th part of the model, of the times of its K equal parts."""
    stages = program.num_stages
    values = values if len(values) > 1 else [values[0]] * program.size
    first, last = stage * len(values), (stage + 1) * len(values)  # in parts of an (S K)-th
    return sum(
        values[part] * (min(last, (part + 1) * stages) - max(first, part * stages)) / stages
        for part in range(first // stages, -(-last // stages))
    )


def make_link(calibration: Calibration, num_bytes: float, ranks_per_node: int = 0) -> Link:
    """Return the times of messages of ``num_bytes``: latency with overheads, and the time that grows with the length.

    Parameters
    ----------
    calibration : Calibration
        As for the prices of collectives.
    num_bytes : float
        Length of an activation at the border of two stages, for one microbatch.
    ranks_per_node : int
        0 for one node.
    """
    at = calibration.at(num_bytes)
    times = []
    for wire in (at.inside, at.across):
        latency = wire.one_way.latency
        overhead = wire.send_overhead + wire.recv_overhead
        times.append((latency + overhead, max(0.0, float(wire.one_way(num_bytes)) - latency)))
    inside, across = times

    def link(sender: int, receiver: int) -> tuple[float, float]:
        if ranks_per_node and sender // ranks_per_node != receiver // ranks_per_node:
            return across
        return inside

    return link


@dataclass(frozen=True)
class Price:
    """Predicted costs of one step.

    Attributes
    ----------
    schedule : str
    ranks, num_microbatches : int
    step : float
        Time from the first task to the last, in the unit of the costs.
    bubble, dependency, imbalance, message : float
        Idle part of the time, mean over ranks; and its parts by cause (see ``idle``).
    bubbles, live : list of float
        Idle part of each rank, and microbatches that it holds at most.
    slowest : int
        The rank with the most work, and
    slowest_over_mean : float
        by how much more than the mean.
    """

    schedule: str
    ranks: int
    num_microbatches: int
    step: float
    bubble: float
    dependency: float
    imbalance: float
    message: float
    bubbles: list[float] = field(default_factory=list)
    live: list[float] = field(default_factory=list)
    slowest: int = 0
    slowest_over_mean: float = 1.0


@dataclass(frozen=True)
class Prediction:
    """Predicted (or recorded) times of all tasks, and the idle intervals of each rank with their causes."""

    timeline: Timeline
    idle: list[list[Idle]]
    in_seconds: bool = False

    def say_time(self, time: float) -> str:
        """Return the text of a time: "12.5 ms" in seconds, else a number."""
        return say_seconds(time) if self.in_seconds else f"{time:.6g}"

    @property
    def price(self) -> Price:
        """Costs in sum."""
        timeline, size = self.timeline, self.timeline.program.size
        total, busy = timeline.total or 1.0, timeline.busy
        causes = shares((one for own in self.idle for one in own), total * size)
        mean = sum(busy) / size or 1.0
        return Price(
            schedule=timeline.program.name,
            ranks=size,
            num_microbatches=timeline.program.num_microbatches,
            step=timeline.total,
            bubble=timeline.bubble,
            **{cause: causes[cause] for cause in CAUSES},
            bubbles=[1.0 - time / total for time in busy],
            live=timeline.live,
            slowest=busy.index(max(busy)),
            slowest_over_mean=max(busy) / mean,
        )


def predict(pipeline: Pipeline, size: int, num_microbatches: int, costs: Costs | None = None) -> Prediction:
    """Return the predicted times of a schedule.

    Raises
    ------
    ScheduleError
        If a task is missing or comes twice; a deadlock is an error of the timeline, which ends there.
    """
    costs = costs or Costs()
    program = make_program(pipeline, size, num_microbatches, pipeline.name)
    return predict_program(program, costs.durations(program), costs.link, costs.in_seconds)


def predict_program(
    program: Program, durations: Durations, link: Link | None = None, in_seconds: bool = False
) -> Prediction:
    """Return the predicted times of a program, as far as it goes."""
    timeline = simulate(program, durations, link, partial=True)
    return Prediction(timeline, find_idle(timeline, durations), in_seconds)


def choose(prices: Sequence[Price], memory: float | None = None) -> Price | None:
    """Return the schedule with the shortest step, of those that hold the fewest microbatches of them.

    Parameters
    ----------
    prices : sequence of Price
    memory : float, optional
        Microbatches that a rank may hold.

    Returns
    -------
    Price or None
        None if all hold more.
    """
    fitting = [price for price in prices if memory is None or max(price.live) <= memory + SLACK]
    least = min((price.step for price in fitting), default=0.0)
    fast = [price for price in fitting if price.step <= least * (1.0 + SLACK)]
    return min(fast, key=lambda price: max(price.live), default=None)


SLACK = 1e-9
