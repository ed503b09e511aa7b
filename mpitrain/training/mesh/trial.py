"""Short timed runs of a few meshes: the last word of ``--mesh auto``."""

import dataclasses
import statistics
import time

from ...comm.world import World
from ...config import Config
from ...device import Device
from ...errors import AgreedError
from ..build import make_loop
from ..display.progress import make_progress
from ..display.silent_console import SilentConsole
from ..hooks import Hook, Hooks, StepInfo
from ..loop import TrainingLoop
from ..setup import OwnParts, open_setup, resolved

WARM_UP, TIMED = 2, 8
"""Steps before those that count (buffers are made, caches are filled), and those."""

LEAST_TIMED = 2
MOST_SECONDS = 20.0
"""Predicted time of a trial above which fewer steps are timed."""


class Stamps(Hook):
    """Hook that notes when each step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def step_end(self, info: StepInfo) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())

    def seconds(self) -> float:
        """Return the median time of a step, without those to warm up."""
        times = [after - before for before, after in zip(self.ends, self.ends[1:], strict=False)]
        return statistics.median(times[WARM_UP - 1 :] or [0.0])


def trial_config(config: Config, predicted: float) -> Config:
    """Return the settings of a trial: a few steps, of so many predicted seconds, from which nothing is written."""
    steps = WARM_UP + max(LEAST_TIMED, min(TIMED, round(MOST_SECONDS / max(predicted, 1e-6))))
    run = dataclasses.replace(
        config.run,
        steps=steps,
        evaluate_every=str(steps),
        early_stop="",
        hook="",
        monitor="",
        out="",
        progress="none",
        profile=False,
    )
    return dataclasses.replace(config, run=run)


def time_mesh(config: Config, world: World, device: Device, own: OwnParts, predicted: float = 0.0) -> tuple[float, str]:
    """Return the seconds of a step with the mesh of ``config``, and why there are none (collective).

    Nothing is left of the run: the training that follows begins with the same weights and samples as without it.
    """
    config = trial_config(config, predicted)
    try:
        setup = open_setup(config, world, device, own=own)
        config = resolved(config, setup)
        display = make_progress("none", SilentConsole(), config.run)
        loop = make_loop(config, setup, world, display)
    except AgreedError as error:
        return 0.0, str(error)
    stamps = Stamps()
    try:
        TrainingLoop(loop.run, loop.executor, Hooks([stamps], world.rank)).train()
    except AgreedError as error:
        return 0.0, str(error)
    finally:
        loop.run.data_parallel.free()
    return max(world.all_gather(stamps.seconds())), ""
