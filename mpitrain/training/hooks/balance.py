"""Shares of the batches by the measured speed of each rank (``--balance auto``)."""

import contextlib
import math
from typing import Any

from ...errors import UserError
from ...parallel.balance import Balancer
from ..directory.run_directory import RunDirectory
from ..run import TrainingRun
from ..work_meter import WorkMeter
from .base import Hook, StepInfo

FIRST_STEPS = 8
"""Steps of the first window."""

FEW_STEPS, MANY_STEPS = 4, 32
LONG_STEP, SHORT_STEP = 0.2, 0.005
"""Steps of a window where each is longer, or shorter, than so many seconds; otherwise they are ``FIRST_STEPS``."""

SHOWN = 4
"""Changes that the user is told about; all are in metrics.jsonl."""

OF_FREE_MEMORY = 0.5
"""Part of the free memory that a larger share may take."""


class Balance(Hook):
    """Hook that changes the shares of the ranks, on all of them from the same step on.

    Batches are prepared ahead, so new shares begin some steps later (``Loader.lead``); then the measurement starts
    anew.

    Parameters
    ----------
    run : TrainingRun
    meter : WorkMeter
    directory : RunDirectory or None
        Where changes are written down; None on other ranks than 0, or to write nothing.

    Attributes
    ----------
    balancer : Balancer
    """

    def __init__(self, run: TrainingRun, meter: WorkMeter, directory: RunDirectory | None):
        self._run, self._meter, self._directory = run, meter, directory
        self.balancer = Balancer(run.group.size)
        self._begins: tuple[int, int] | None = None
        self._steps, self._length = 0, FIRST_STEPS

    def step_begin(self, info: StepInfo) -> None:
        """Begin to measure anew where new shares begin."""
        here = info.run.position
        if self._begins is not None and (here.epoch, here.steps) >= self._begins:
            self._begins, self._steps = None, 0
            self._meter.clear()
            info.run.on_new_shares()

    def step_end(self, info: StepInfo) -> None:
        """Exchange the measurements of some steps, and change the shares if that makes steps shorter (collective)."""
        self._steps += 1
        if self._begins is not None or self._steps < self._length:
            return
        run = info.run
        window = self._meter.exchange(run.group, self._room())
        seconds = window.step_seconds
        self._length = FEW_STEPS if seconds > LONG_STEP else MANY_STEPS if seconds < SHORT_STEP else FIRST_STEPS
        self._steps = 0
        change = self.balancer.observe(window)
        if change is None:
            return
        self._begins = run.position.epoch, run.position.steps + run.loader.lead
        run.loader.divide_from(self._begins, change.weights)
        if info.rank == 0:
            self._tell(info, change.say(run.group.name_of))
        if self._directory is not None:
            shares = [round(weight, 5) for weight in change.weights]
            with contextlib.suppress(UserError):  # the line is kept, and whoever writes the next one reports it
                self._directory.log(
                    "balance", step=info.step, epoch=info.epoch, shares=shares, expected_gain=round(change.gain, 4)
                )

    def _tell(self, info: StepInfo, text: str) -> None:
        number = len(self.balancer.changes)
        if number <= SHOWN:
            info.note(f"{text} (further changes only in metrics.jsonl)" if number == SHOWN else text)

    def _room(self) -> float:
        """Return the times by which this rank may have more samples than now, by its memory."""
        run, device = self._run, self._run.setup.arena.device
        ranks = run.world.node_size if device.name == "cpu" else 1
        used = run.ctx.num_bytes
        return 1 + OF_FREE_MEMORY * device.free_bytes / ranks / used if used else math.inf

    def summary(self) -> dict[str, Any]:
        """Return the entries of the report: changes, and the part of a step by which they made it shorter.

        The gain is None as long as nothing was measured after a change.
        """
        ratios = [1 - change.measured_gain for change in self.balancer.changes if change.measured_gain is not None]
        return {
            "changes": len(self.balancer.changes),
            "measured_gain": round(1 - math.prod(ratios), 4) if ratios else None,
        }
