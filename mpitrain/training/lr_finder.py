"""Learning-rate range test (Smith 2017, arXiv 1506.01186): a short training whose rate grows from step to step."""

import itertools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..comm.world import World
from ..config import Config
from ..run_rules import EVERY_STEP
from .build import make_loop
from .display.progress_log import ProgressLog
from .hooks import Hook, Hooks, StepInfo
from .loop import TrainingLoop
from .setup import TrainingSetup

NEAR = 0.7  # weight of the next step where losses are averaged, of that of a step itself
DIVERGED = 4.0  # times the lowest average: the test ends there


@dataclass(frozen=True)
class RateCurve:
    """Losses of a training whose learning rate grows by a constant factor.

    Attributes
    ----------
    rates, losses : sequence of float
        Of each step that was made; the loss is that before the update, over all ranks.
    diverged : bool
        True if the losses grew beyond bounds before the last step.
    """

    rates: Sequence[float]
    losses: Sequence[float]
    diverged: bool = False

    @property
    def smooth(self) -> list[float]:
        """Averages of the losses, in which a step counts less the further it is away, before as after.

        A loss above four times the first counts as that much: losses of 1e30 would hide all that was before them.

        >>> [round(loss, 2) for loss in RateCurve([1, 2, 4], [3.0, 3.0, 1.0]).smooth]
        [2.52, 2.42, 2.02]
        """
        steps = range(len(self.losses))
        weights = [[NEAR ** abs(there - here) for there in steps] for here in steps]
        capped = [min(loss, DIVERGED * self.losses[0]) for loss in self.losses]
        return [sum(map(operator.mul, row, capped)) / sum(row) for row in weights]

    @property
    def lowest(self) -> int:
        """The step of the lowest smooth loss, counted from 0."""
        smooth = self.smooth
        return smooth.index(min(smooth))

    @property
    def suggestion(self) -> float | None:
        """The rate at which the smooth loss falls most steeply, over the logarithm of the rate; None if none falls.

        >>> RateCurve([0.1, 1.0, 10.0, 100.0], [2.0, 1.9, 0.1, 5.0]).suggestion
        1.0
        """
        smooth = self.smooth[: self.lowest + 1] if self.losses else []
        falls = [before - after for before, after in itertools.pairwise(smooth)]
        return self.rates[falls.index(max(falls))] if falls and max(falls) > 0 else None


class RateTest(Hook):
    """Hook that notes the loss of each step, and ends the run when it diverges.

    All ranks see the same losses, and end after the same step.
    """

    def __init__(self) -> None:
        self._rates: list[float] = []
        self._losses: list[float] = []
        self._average, self._lowest = math.nan, math.inf
        self._diverged = False

    def step_end(self, info: StepInfo) -> None:
        """Note the loss."""
        if math.isfinite(info.loss):
            self._rates.append(info.lr)
            self._losses.append(info.loss)
            latest = (
                info.loss if math.isnan(self._average) else self._average + (1 - NEAR) * (info.loss - self._average)
            )
            self._average, self._lowest = latest, min(self._lowest, latest)
            self._diverged = latest > DIVERGED * self._lowest
        else:
            self._diverged = True
        info.run.stopped = self._diverged

    @property
    def curve(self) -> RateCurve:
        """The steps up to now."""
        return RateCurve(self._rates, self._losses, self._diverged)


def find_rates(
    config: Config, setup: TrainingSetup, world: World, display: ProgressLog, lowest: float, highest: float
) -> RateCurve:
    """Train ``config.run.steps`` steps with rates from ``lowest`` to ``highest`` (collective over all ranks).

    The optimizer, the batches and everything else are those of ``config``, but gradients are summed in every step, so
    that all ranks see the same losses. Afterwards the weights are as before.
    """
    config = replace(config, parallel=replace(config.parallel, sync=EVERY_STEP))
    arena, test = setup.arena, RateTest()
    values, states = arena.values.copy(), arena.states.copy()
    loop = make_loop(config, setup, world, display)
    run = loop.run
    factor = (highest / lowest) ** (1 / max(1, config.run.steps - 1))
    run.schedule = lambda step: lowest * factor**step
    try:
        TrainingLoop(run, loop.executor, Hooks([test], world.rank)).train()
    finally:
        run.data_parallel.free()
        arena.values[...], arena.states[...] = values, states
        arena.values_changed()
    return test.curve
