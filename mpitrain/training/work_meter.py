"""Measurement of a rank's own work in each step: its forward and backward, and the input that it waits for.

Waiting for other ranks does not count, inside of forward (batch statistics) either: a rank is slow by its own work
only. On a GPU the time is that between two events in its queue, for which nothing waits.
"""

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from statistics import fmean, median
from typing import NamedTuple

import numpy as np

from ..comm.group import Group
from ..data.loader import Batch, Loader
from ..device import Device, Event
from ..parallel.balance import Window
from ..parallel.data import DataParallel

KEPT = 256  # steps
FULL = 0.9  # of the most samples of a step
NORMAL = 1.4826  # standard deviation over the median of absolute deviations, of normal noise
OF_MEDIAN = 1.2533  # standard error of a median over that of a mean


class StepWork(NamedTuple):
    """The own work of a step: samples, events before and after it, and seconds to add to the time between these.

    Attributes
    ----------
    amount : float
        Samples; of tokens, in units of the longest sample.
    """

    samples: int
    amount: float
    begin: Event
    end: Event
    more: float
    started: float


class WorkMeter:
    """The own work of this rank in the steps since the last ``summary``.

    Parameters
    ----------
    loader : Loader
    sync : DataParallel
    device : Device
    """

    def __init__(self, loader: Loader, sync: DataParallel, device: Device):
        self._loader, self._sync, self._device = loader, sync, device
        self._sample_size = max(1, math.prod(loader.split.x.shape[1:]))
        self._steps: deque[StepWork] = deque(maxlen=KEPT)
        self._input = 0.0

    @contextmanager
    def step(self, batches: Sequence[Batch]) -> Iterator[None]:
        """Measure a block that does forward and backward of all microbatches of a step."""
        loader, sync, stream = self._loader, self._sync, self._device.compute
        waited, started = sync.sync_seconds, time.perf_counter()
        begin = stream.record(timed=True)
        yield
        more = loader.wait_seconds - self._input - (sync.sync_seconds - waited)
        self._input = loader.wait_seconds
        amount = sum(math.prod(batch.x.shape) for batch in batches) / self._sample_size
        samples = sum(map(len, batches))
        self._steps.append(StepWork(samples, amount, begin, stream.record(timed=True), more, started))

    def clear(self) -> None:
        """Forget all steps."""
        self._steps.clear()

    def exchange(self, group: Group, most: float) -> Window:
        """Return the measurements of all ranks, and forget the steps (collective).

        The ranks have just met in the sum of a step, so that nobody waits for long: a vector of six numbers for each
        rank is summed.

        Parameters
        ----------
        most : float
            Times by which this rank may have more samples than now.
        """
        mine = self._summary()
        rows = [[0.0] * group.size for _ in range(len(mine) + 1)]
        for row, number in zip(rows, [*mine, most * mine[1] if mine[1] else 0.0], strict=True):
            row[group.rank] = number
        sums = group.sum(np.array(rows))
        samples, amounts, seconds, errors, walls, limits = (row.tolist() for row in sums)
        return Window(amounts, seconds, errors, limits, max(walls), max(1, round(math.fsum(samples))))

    def _summary(self) -> tuple[float, float, float, float, float]:
        """Return the means of samples and amounts, the time of own work with its relative error, and that of a step."""
        done = [step for step in self._steps if step.end.done()]
        full = _full([step for step in done if step.amount > 0])
        starts = [step.started for step in done]
        self._steps.clear()
        walls = [after - before for before, after in pairwise(starts)]
        if not full or not walls:
            return 0.0, 0.0, 0.0, 0.0, 0.0
        each = [max(0.0, step.end.seconds_since(step.begin) + step.more) / step.amount for step in full]
        usual = median(each)
        spread = median(abs(seconds - usual) for seconds in each)
        error = NORMAL * OF_MEDIAN * spread / math.sqrt(len(each)) / usual if usual else 0.0
        amount = fmean(step.amount for step in full)
        return fmean(step.samples for step in full), amount, usual * amount, error, median(walls)


def _full(steps: list[StepWork]) -> list[StepWork]:
    """Return the steps with about the most samples, if they are half of all: a ragged batch takes longer a sample."""
    most = max((step.amount for step in steps), default=0.0)
    full = [step for step in steps if step.amount >= FULL * most]
    return full if 2 * len(full) >= len(steps) else steps
