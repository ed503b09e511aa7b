"""Step times of a short training: what each rank spends in each step, and the facts that predictions need."""

import statistics
from dataclasses import replace
from typing import Any

from ..comm.measure.calibrate import Calibrator
from ..comm.measure.model_error import messages_of
from ..comm.world import World
from ..config import Config
from ..layers import BatchNorm2d, Layer, MixtureOfExperts
from ..layers.base import summing_layers
from ..parallel.data import DataParallel
from .build import make_loop
from .display.progress_log import ProgressLog
from .hooks import Hook, Hooks, StepInfo
from .loop import TrainingLoop
from .report import mean_over_ranks
from .setup import TrainingSetup
from .step_timer import Times

CALIBRATIONS = 5  # passes over the messages of one bucket
MEDIAN = 0.5


class StepClock(Hook):
    """Hook that notes the times of each step after the first ones, and those of the updates.

    Parameters
    ----------
    warm_up : int
        Steps that are not noted.
    """

    def __init__(self, warm_up: int):
        self._warm_up = warm_up
        self._before = Times()
        self.steps: list[tuple[float, float, float, float]] = []
        self.updates: list[float] = []

    def train_begin(self, info: StepInfo) -> None:
        """Listen to the updates."""
        info.run.data_parallel.on_timed = self._timed

    def _timed(self, name: str, begin: float, end: float) -> None:
        if name == "update":
            self.updates.append(end - begin)

    def step_end(self, info: StepInfo) -> None:
        """Note compute, input, waiting for other stages, and the exchange of the step."""
        now, then = info.times, self._before
        self._before = now
        if info.step > self._warm_up:
            self.steps.append(
                (now.compute - then.compute, now.input - then.input, now.waiting - then.waiting, now.sync - then.sync)
            )


def time_steps(
    config: Config, setup: TrainingSetup, world: World, display: ProgressLog, warm_up: int
) -> dict[str, Any]:
    """Train ``config.run.steps`` steps, without evaluation, and return times and facts (collective over all ranks).

    Returns
    -------
    dict
        ``steps`` holds for each rank and step its seconds of compute, input, waiting for other stages and exchange.
    """
    config = replace(config, run=replace(config.run, evaluate_every=str(config.run.steps)))
    loop, clock = make_loop(config, setup, world, display), StepClock(warm_up)
    run = loop.run
    TrainingLoop(run, loop.executor, Hooks([clock], world.rank)).train()
    sync = run.data_parallel
    facts = {
        "steps": world.all_gather(clock.steps),
        "update": statistics.median(clock.updates[warm_up:] or [0.0]),
        "samples": len(setup.dataset.train),
        "oversubscribed": world.oversubscribed,
        "cores": world.cores,
        "mpi": world.mpi_version,
        "devices": run.devices,
        "title": f"{config.model.name} on {setup.dataset.name}",
        "parameters": setup.num_parameters,
        "bytes": mean_over_ranks(world, sync.bytes_per_step),
        "messages": mean_over_ranks(world, sync.messages_per_step),
        "sharded": sync.sync.sharded,
        "algorithms": list(sync.algorithms),
        "buckets": _bucket_bytes(sync, setup.arena.dtype.itemsize),
        "statistics": _statistics_bytes(setup.model),
        "calibration": _calibrate(sync, setup, world),
    }
    sync.free()
    return facts


def _bucket_bytes(sync: DataParallel, itemsize: int) -> list[int]:
    return [(bucket.stop - bucket.start) * itemsize for bucket in sync.buckets]


def _statistics_bytes(model: Layer) -> list[int]:
    """Return the lengths of the sums of batch statistics in a step: two for each norm, one for each router."""
    layers = [layer for layer in summing_layers(model) if layer.sum_over_ranks is not None]
    norms = [layer for layer in layers if isinstance(layer, BatchNorm2d)]
    routers = [layer for layer in layers if isinstance(layer, MixtureOfExperts)]
    sums = [8 * (2 * layer.weight.size + 1) for layer in norms for _ in ("forward", "backward")]
    return sums + [8 * layer.num_experts for layer in routers]


def _calibrate(sync: DataParallel, setup: TrainingSetup, world: World) -> dict[str, Any] | None:
    """Return the calibration of the messages of a step; None where the model does not apply."""
    if world.size == 1 or world.oversubscribed:
        return None
    lengths = [*_bucket_bytes(sync, setup.arena.dtype.itemsize), *_statistics_bytes(setup.model)]
    calibrator = Calibrator(world)
    calibrator.restart(tuple(sorted({n for length in lengths for n in messages_of(length)})))
    for _ in range(CALIBRATIONS):
        calibrator.measure()
    return calibrator.result(MEDIAN).to_json()
