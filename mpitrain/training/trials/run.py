"""One trial of a sweep, or a part of it: a training in a world of its own, up to a number of epochs."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...comm.world import World
from ...config import Config
from ...errors import AgreedError, UserError
from ...suggest import suggest
from ...sweeps.state import FAILED, FINISHED, INTERRUPTED, PAUSED
from ..build import make_loop
from ..control import ControlRequest
from ..directory.open_run import Place, open_run
from ..directory.resume import restore, with_normalizers_of
from ..directory.run_directory import AUTO, METRICS
from ..display.progress import make_progress
from ..display.silent_console import SilentConsole
from ..hooks import Hook, StepInfo
from ..hooks.registry import make_hooks
from ..loop import TrainingLoop
from ..opening import open_training
from ..report import write_results
from ..results import EpochResult


@dataclass(frozen=True)
class Objective:
    """The score that decides between trials.

    Attributes
    ----------
    metric : str
    larger_is_better : bool
    latest : bool
        Take that of the last evaluation, not the best of all.
    """

    metric: str
    larger_is_better: bool
    latest: bool = False

    def check(self, names: Sequence[str]) -> None:
        """Raise a UserError if the metric is not among the ``names`` of scores."""
        if self.metric not in names:
            raise UserError(f"there is no score {self.metric}; {suggest(self.metric, names)}")

    def choose(self, scores: list[Mapping[str, float]]) -> Mapping[str, float]:
        """Return the scores that count, out of those of all evaluations; empty without any.

        Raises
        ------
        UserError
            If the metric is not among them.
        """
        if not scores:
            return {}
        self.check(list(scores[-1]))
        if self.latest:
            return scores[-1]
        sign = 1 if self.larger_is_better else -1
        return max(scores, key=lambda found: -math.inf if math.isnan(v := found[self.metric]) else sign * v)


@dataclass(frozen=True)
class Outcome:
    """The end of a trial, or of a part of it.

    Attributes
    ----------
    status : str
    scores : mapping
        Those that count, of the validation samples, or of the test samples without any.
    test : mapping
        Scores of the test samples at the same evaluation.
    """

    status: str
    scores: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    epoch: float = 0.0
    reason: str = ""


class Pause(Hook):
    """Hook that ends a part of a trial, with a checkpoint, after a number of epochs."""

    def __init__(self, until: float):
        self._until = until

    def epoch_end(self, info: StepInfo) -> None:
        """Ask for the end."""
        if info.epoch >= self._until:
            info.run.requests.preempt = True


def run_trial(
    config: Config,
    world: World,
    objective: Objective,
    *,
    until: float = 0.0,
    control: Callable[[], ControlRequest],
) -> Outcome:
    """Train, from the newest checkpoint in ``config.run.out`` on if there is one (collective).

    Parameters
    ----------
    until : float
        Epochs after which the trial is paused; 0 for the end of the run.
    control : callable() -> ControlRequest
        Called in every step; a request to preempt ends the trial with a checkpoint.

    Raises
    ------
    Exception
        Everything that a training raises.
    """
    from ...monitor.opening import open_monitors

    begin = time.perf_counter()
    config, setup, _ = open_training(config, world, AUTO, divide=True)
    with world.together():
        hooks = [*make_hooks(config.run.hook), *([Pause(until)] if until else [])]
    observers = open_monitors(config.run, world, has_directory=True)
    display = make_progress("none", SilentConsole(), config.run)
    place = open_run(config, world, AUTO, setup, display.note)
    if place is None:
        return finished_before(Path(config.run.out), objective)
    with place.owner:
        if place.checkpoint is not None:
            setup = with_normalizers_of(place.checkpoint, setup)
        options: dict[str, Any] = {"hooks": hooks, "observers": observers, "control": control}
        loop = make_loop(config, setup, world, display, directory=place.directory, run_path=place.path, **options)
        with world.together():
            if place.checkpoint is not None:
                restore(loop.run, place.checkpoint)
            scoring = loop.run.scoring
            objective.check([*scoring.names, *(one.name for one in scoring.metrics.metrics if one.is_number)])
        already = bool(until) and loop.run.position.epoch > until
        if not already:
            _train(loop)
        return _end(loop, place, objective, until, time.perf_counter() - begin, already=already)


def _train(loop: TrainingLoop) -> None:
    try:
        loop.train()
    except AgreedError:
        loop.run.data_parallel.free()
        raise


def _end(
    loop: TrainingLoop, place: Place, objective: Objective, until: float, seconds: float, *, already: bool
) -> Outcome:
    """Write the results, and return them."""
    run, status = loop.run, FINISHED
    results = run.results.evaluations
    if run.preempted or already:
        ended = run.position.epoch - 1
        status = PAUSED if until and ended >= until else INTERRUPTED
        if place.directory is not None:
            place.directory.close()
    else:
        ended = results[-1].epoch
        write_results(loop, place.path, seconds)
    run.data_parallel.free()
    with run.world.together():
        scores = objective.choose([result.held_out for result in results])
    return Outcome(status, scores, _test_of(results, scores), run.step, float(ended))


def _test_of(results: list[EpochResult], scores: Mapping[str, float]) -> Mapping[str, float]:
    return next((result.test for result in results if result.held_out is scores), {})


def finished_before(path: Path, objective: Objective) -> Outcome:
    """Return the outcome of a run that has ended by itself, from its directory."""
    epochs = []
    for line in (path / METRICS).read_text("utf-8").splitlines():
        entry = json.loads(line)
        if entry.get("kind") == "epoch":
            epochs.append(entry)
    held_out = [_numbers(entry.get("validation") or entry["test"]) for entry in epochs]
    scores = objective.choose(held_out)
    place = next((i for i, found in enumerate(held_out) if found is scores), None)
    if place is None:
        return Outcome(FAILED, reason=f"{path / METRICS} has no evaluation")
    last = epochs[-1]
    return Outcome(FINISHED, scores, _numbers(epochs[place]["test"]), last["step"], float(last["epoch"]))


def _numbers(scores: Mapping[str, Any]) -> Mapping[str, float]:
    return {name: math.nan if value is None else float(value) for name, value in scores.items()}
