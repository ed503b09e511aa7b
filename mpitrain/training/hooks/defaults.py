"""The hooks of every run, in the order in which they are called."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ...parallel.sync.base import LocalSteps
from ...run_rules import parse_early_stop
from ..checkpoint import Writer
from ..checkpoint.timer import CheckpointTimer
from ..control import ControlRequest, no_request
from ..directory.run_directory import CHECKPOINTS, RunDirectory
from ..run import TrainingRun
from ..scoring.evaluation import make_evaluator
from ..work_meter import WorkMeter
from .balance import Balance
from .base import Hook
from .checkpoints import Checkpoints
from .consistency import WeightCheck
from .control import ExternalControl
from .display import ProgressDisplay
from .early_stop import EarlyStop
from .evaluation import Evaluation
from .events import EventLog
from .non_finite import NonFiniteGuard
from .own_steps import OwnStepsGuard
from .profiler import Profiler
from .recorder import Recorder
from .snapshots import StepSnapshots


def default_hooks(
    run: TrainingRun,
    directory: RunDirectory | None,
    control: Callable[[], ControlRequest],
    run_path: Path | None,
    more: Sequence[Hook] = (),
    meter: WorkMeter | None = None,
    observers: Sequence[Hook] = (),
) -> list[Hook]:
    """Return the hooks for the config of ``run``, and ``more``, the hooks of the user.

    Parameters
    ----------
    directory : RunDirectory or None
        The directory on rank 0; None on the others.
    control : callable() -> ControlRequest
        Requests from outside.
    run_path : Path, optional
        Directory of the run, on all ranks: checkpoints are written there. None writes none.
    meter : WorkMeter, optional
        Measures the work by which the shares of the ranks are changed; None leaves them.
    observers : sequence of Hook
        Hooks that change nothing (monitors), called after all others.
    """
    config, setup = run.config, run.setup
    timer = CheckpointTimer(config.checkpoint.every, config.checkpoint.max_time)
    rule = parse_early_stop(config.run.early_stop)
    writer = None if run_path is None else _make_writer(run, run_path)
    roles = setup.roles  # rank 0 gets weights from the first ranks that have the other parts
    weights = roles.weights if roles is not None and run_path is not None and roles.same.rank == 0 else None
    return [
        *([StepSnapshots(run)] if run.world.elastic else []),
        *([EventLog(directory)] if run_path is not None else []),
        *([Profiler()] if config.run.profile else []),
        *([ExternalControl(control)] if control is not no_request else []),
        _make_guard(run),
        *([WeightCheck(config.parallel.check_every)] if run.world.size > 1 else []),
        *(hook for hook in more if hook.before_evaluation),
        Evaluation(make_evaluator(setup, run.world)),
        *([EarlyStop(rule)] if rule is not None else []),
        Recorder(directory, weights),
        *([Balance(run, meter, directory)] if meter is not None else []),
        ProgressDisplay(run.display),
        *(hook for hook in more if not hook.before_evaluation),
        Checkpoints(timer, writer),  # after all that changes the run, so that a checkpoint has what a step has brought
        *observers,
    ]


def _make_guard(run: TrainingRun) -> Hook:
    skip, sync = run.config.optimizer.non_finite == "skip", run.data_parallel.sync
    return OwnStepsGuard(sync, skip=skip) if isinstance(sync, LocalSteps) else NonFiniteGuard(skip=skip)


def _make_writer(run: TrainingRun, run_path: Path) -> Writer:
    return Writer(
        run.world,
        run_path / CHECKPOINTS,
        run.tensors,
        group=run.group if run.setup.roles is None else run.setup.roles.same,
        slices=run.data_parallel.sync.own,
        own_states=run.config.model.batch_norm == "local" and bool(run.setup.arena.whole.states),
        keep=run.config.checkpoint.keep,
        note=run.display.note,
        on_timed=run.timeline,
    )
