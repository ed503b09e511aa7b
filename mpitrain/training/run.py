"""A training run in progress: its parts, its position, and its results.

The loop, the step executor and the hooks share one of these, and none of them knows the others.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..comm.group import Group
from ..comm.world import World
from ..config import Config
from ..context import Context
from ..data.dataset import Split
from ..data.loader import Loader
from ..optim import Optimizer, Schedule
from ..parallel.data import DataParallel
from ..parallel.pipeline.runner import PipelineRunner
from ..step_header import StepSums
from .checkpoint import State
from .control import PendingRequests
from .display.progress_log import ProgressLog
from .position import Position
from .results import RunResults
from .run_length import RunLength
from .scoring.scores import Scoring
from .setup import TrainingSetup
from .step_timer import StepTimer, Times

Listener = Callable[[str, float, float], None]
OutputListener = Callable[[Any, Split, slice, np.ndarray], None]


class Timeline:
    """Reports parts of a run to its listeners, as (name, begin, end) in seconds of ``perf_counter``."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []

    def __call__(self, name: str, begin: float, end: float) -> None:
        """Report one part."""
        for listener in self.listeners:
            listener(name, begin, end)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Report the block as a part."""
        begin = perf_counter()
        try:
            yield
        finally:
            self(name, begin, perf_counter())


@dataclass(eq=False, kw_only=True)
class TrainingRun:
    """The parts and the progress of a run on one rank.

    Attributes
    ----------
    length : RunLength
    schedule : callable(int) -> float
        The learning rate of each step, counted from 0.
    ctx : Context
        The context of the training steps.
    runner : PipelineRunner or None
        Runs the tasks of this rank in a pipeline.
    display : ProgressLog
        Shows progress, and notes to the user; silent on other ranks than 0.
    devices : list of str
        Where the ranks compute: cpu, or the names of GPUs.
    timeline : Timeline
    requests : PendingRequests
        Sent to the other ranks with the next gradients.
    agreed : StepSums
        Sums of the last step, with the requests of all ranks.
    announce : callable(event, StepInfo)
        Calls the hooks.
    step : int
        Steps done, over all epochs.
    position : Position
        Where in the data the next step begins.
    resumed_at : int
        The step that the run was resumed at; 0 if it was not.
    stopped : bool
        True after a stop on request, before the end of the last epoch.
    preempted : bool
        True where a checkpoint is written instead of an end of the run.
    finished : str
        Why the run has ended before its last step, by itself (early stopping); empty otherwise.
    timer : StepTimer
        Times since the last evaluation.
    period_times : Times
        Times between the last two evaluations, with waiting separated.
    times : Times
        Times of this rank up to the last evaluation of this process.
    pipe : Group or None
        The stages of the pipeline that this rank is in; None without one.
    on_new_shares : callable()
        Called on all ranks before the first step in which they have other shares of a batch (--balance auto).
    losses : list of dict
        Losses of ranks after which training continued (--elastic).
    path : Path or None
        The directory of the run; None where nothing is written.
    times_of_ranks : list of Times
        ``period_times`` of all ranks, on rank 0; with --monitor only.
    on_test_outputs : list of callable(StepInfo, Split, slice, array)
        Called in an evaluation with rows of the test samples of this rank, and their outputs on its device.
    averages : dict of str to (arena.size,) array
        Averages of the weights, which checkpoints hold.
    """

    config: Config
    setup: TrainingSetup
    world: World
    data_parallel: DataParallel
    loader: Loader
    optimizer: Optimizer
    length: RunLength
    schedule: Schedule
    ctx: Context
    scoring: Scoring
    display: ProgressLog
    results: RunResults
    devices: list[str]
    runner: PipelineRunner | None = None
    timeline: Timeline = field(default_factory=Timeline)
    requests: PendingRequests = field(default_factory=PendingRequests)
    agreed: StepSums = field(default_factory=StepSums)
    announce: Callable[[Any, Any], None] = lambda event, info: None
    step: int = 0
    position: Position = field(default_factory=Position)
    resumed_at: int = 0
    stopped: bool = False
    preempted: bool = False
    finished: str = ""
    timer: StepTimer = field(default_factory=StepTimer)
    period_times: Times = field(default_factory=Times)
    times: Times = field(default_factory=Times)
    pipe: Group | None = None
    on_new_shares: Callable[[], None] = lambda: None
    _stage_seconds: float = 0.0
    losses: list[dict[str, Any]] = field(default_factory=list)
    path: Path | None = None
    times_of_ranks: list[Times] = field(default_factory=list)
    on_test_outputs: list[OutputListener] = field(default_factory=list)
    averages: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def group(self) -> Group:
        """The ranks among which the samples are divided."""
        return self.data_parallel.group

    def take_stage_seconds(self, runner: PipelineRunner) -> float:
        """Return the time for which this rank has waited for other stages since the last call."""
        before, self._stage_seconds = self._stage_seconds, runner.waited
        return self._stage_seconds - before

    @property
    def tensors(self) -> State:
        """The tensors that a step changes."""
        sync = self.data_parallel.sync
        return State(self.setup.arena, self.optimizer, {**sync.slots, **self.averages}, sync.own_slots)

    @property
    def ends_early(self) -> bool:
        """True if this step was the last one because of a request."""
        return self.stopped or self.preempted

    @property
    def must_meet(self) -> bool:
        """True if the weights must be equal on all ranks after the next step: it ends an epoch, or is evaluated after.

        The same on all ranks, and after a resume. Where gradients are summed in every step, they always are.
        """
        step = self.step + 1
        ends_epoch = self.position.steps + 1 == len(self.loader)
        return ends_epoch or self.length.is_last(step) or self.length.evaluates_after(step)

    @property
    def is_last(self) -> bool:
        """True if the last step done ends the run."""
        return self.stopped or bool(self.finished) or self.length.is_last(self.step)

    def samples(self, steps: int) -> int:
        """Return the number of samples in the first ``steps`` steps of the epoch that runs."""
        return self.loader.batches.before(steps)

    def train_scores(self) -> dict[str, float]:
        """Return the scores over the training samples since the last evaluation."""
        return self.scoring.train_scores(*self.position.totals.tolist())

    def continue_from(self, other: "TrainingRun") -> None:
        """Take over the progress of ``other``, the same run on other ranks."""
        mine = self.tensors.slots
        for name, slot in other.tensors.slots.items():
            if name in mine:  # the exchange of gradients may be another one on fewer ranks
                np.copyto(mine[name], slot)
        self.optimizer.step_count = other.optimizer.step_count
        self.step, self.position, self.resumed_at = other.step, other.position, other.resumed_at
        past = other.results
        self.results.restore(past.evaluations, past.best, past.skipped)
        self.times, self.stopped, self.preempted = other.times, other.stopped, other.preempted
