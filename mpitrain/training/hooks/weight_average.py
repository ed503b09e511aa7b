"""Averages of the weights over steps, which are evaluated and saved in place of the weights."""

import itertools
import math
from abc import abstractmethod
from typing import ClassVar

import numpy as np

from ...context import Context
from ...data.loader import Loader
from ...errors import UserError
from ...layers import BatchNorm2d, as_activations
from ...optim import BLOCK
from ..run import TrainingRun
from .base import Hook, StepInfo

BATCHES = 64  # whose mean and variance are those of batch normalization with averaged weights


class WeightAverage(Hook):
    """Average of the weights: scores, ``weights.safetensors`` and the model after training are of it.

    Training goes on with the weights themselves, and checkpoints hold both. Statistics of batch normalization are
    computed anew for each evaluation, from up to ``BATCHES`` microbatches of the training samples.

    Notes
    -----
    It keeps a copy of the trained weights, and another during an evaluation. With ``--shard optimizer`` a rank averages
    the part that it updates.
    """

    before_evaluation: ClassVar[bool] = True
    name: ClassVar[str] = "average"

    def __init__(self) -> None:
        self._run: TrainingRun | None = None
        self._raw: np.ndarray | None = None  # the weights, while the average is in their place
        self._raw_states: np.ndarray | None = None

    def attach(self, run: TrainingRun) -> None:
        """Get memory, which checkpoints of the run include.

        Raises
        ------
        UserError
            If the weights of a rank are its own, or not all there.
        """
        config, arena = run.config, run.setup.arena
        for wrong, option in (
            (not run.data_parallel.every_step, f"--sync {config.parallel.sync}"),
            (run.world.elastic, "--elastic"),
            (arena.divided is not None, f"--shard {config.parallel.shard}"),
            (run.runner is not None and self._has_batch_norm(run), "a pipeline of layers with batch normalization"),
        ):
            if wrong:
                raise UserError(f"the hook {self.name} averages weights, which is not possible with {option}")
        self._run = run
        self._average = np.zeros(arena.size, arena.dtype, like=arena.values)
        run.averages[self.name] = self._average

    @abstractmethod
    def describe(self) -> str:
        """Return a description in a few words."""

    @abstractmethod
    def rate(self, step: int) -> float:
        """Return a in average += a (weights - average) after ``step``; 0 to leave it."""

    @abstractmethod
    def begun(self, step: int) -> bool:
        """Return whether there is an average after ``step``."""

    def train_begin(self, info: StepInfo) -> None:
        """Say what is evaluated and saved."""
        info.note(f"evaluated and saved is the average of the weights ({self.describe()})")

    def epoch_begin(self, info: StepInfo) -> None:
        """Go back to the weights."""
        self._put_back()

    def step_begin(self, info: StepInfo) -> None:
        """Go back to the weights."""
        self._put_back()

    def checkpoint_begin(self, info: StepInfo) -> None:
        """Go back to the weights."""
        self._put_back()

    def step_end(self, info: StepInfo) -> None:
        """Update the average."""
        rate = 0.0 if info.skipped else self.rate(info.step)
        if not rate:
            return
        arena = info.arena
        for part in info.run.data_parallel.sync.own or (slice(0, arena.size),):
            length = BLOCK if arena.on_host else max(1, part.stop - part.start)
            for start in range(part.start, part.stop, length):
                block = slice(start, min(start + length, part.stop))
                self._average[block] += rate * (arena.values[block] - self._average[block])

    def evaluate(self, info: StepInfo) -> None:
        """Put the average in the place of the weights, up to the next step."""
        self._put_in(info.step)

    def train_end(self, info: StepInfo) -> None:
        """Leave the average in the place of the weights."""
        self._put_in(info.step)

    def _put_in(self, step: int) -> None:
        run = self._run
        if run is None or self._raw is not None or not self.begun(step):
            return
        arena, sync = run.setup.arena, run.data_parallel.sync
        sync.gather(self._average)
        self._raw, self._raw_states = arena.values[: arena.size].copy(), arena.states.copy()
        self._fill(run, self._average)
        if self._has_batch_norm(run):
            _compute_statistics(run)

    def _put_back(self) -> None:
        run = self._run
        if run is None or self._raw is None:
            return
        self._fill(run, self._raw)
        run.setup.arena.states[...] = self._raw_states
        self._raw = self._raw_states = None

    def _fill(self, run: TrainingRun, values: np.ndarray) -> None:
        """Write ``values`` into the arena, which may be the memory of several ranks: all write the same."""
        group, arena = run.data_parallel.group, run.setup.arena
        group.barrier()
        arena.values[: arena.size] = values
        arena.values_changed()
        group.barrier()

    @staticmethod
    def _has_batch_norm(run: TrainingRun) -> bool:
        return any(isinstance(layer, BatchNorm2d) for layer in run.setup.model.layers())


class EMA(WeightAverage):
    """Exponential moving average of the weights (Polyak and Juditsky 1992): average += (1 - decay) (weights - average).

    Parameters
    ----------
    decay : float
        It begins lower, as min(decay, (1 + step) / (10 + step)), to forget the first weights.
    """

    name = "ema"

    def __init__(self, decay: float = 0.999):
        super().__init__()
        if not 0 <= decay < 1:
            raise UserError(f"the decay of ema is {decay}, but must be at least 0 and below 1")
        self.decay = decay

    def describe(self) -> str:
        """Return the decay."""
        return f"ema, decay {self.decay:g}"

    def rate(self, step: int) -> float:
        """Return 1 - decay; 1 after the first step."""
        return 1.0 if step == 1 else 1 - min(self.decay, (1 + step) / (10 + step))

    def begun(self, step: int) -> bool:
        """Return whether a step was made."""
        return step > 0


class SWA(WeightAverage):
    """Mean of the weights after several epochs of the end of a run (Izmailov et al. 2018, arXiv 1803.05407).

    Parameters
    ----------
    start : float
        The share of the steps after which it begins.
    every : int
        Steps between two weights; 0 for those of an epoch.

    Notes
    -----
    It needs weights that still move: a learning rate that does not go to 0 (``--schedule constant``).
    """

    name = "swa"

    def __init__(self, start: float = 0.75, every: int = 0):
        super().__init__()
        if not 0 <= start < 1:
            raise UserError(f"the start of swa is {start}, but must be a share of the steps, at least 0 and below 1")
        if every < 0:
            raise UserError(f"swa cannot take weights every {every} steps")
        self.start, self.every = start, every

    def attach(self, run: TrainingRun) -> None:
        """Get memory, and the number of the first step whose weights count."""
        super().attach(run)
        self._every = self.every or len(run.loader)
        self._first = max(1, math.ceil(self.start * run.length.total_steps / self._every))  # in units of every

    def describe(self) -> str:
        """Return the first step and the distance."""
        return f"swa, from step {self._first * self._every:,}, every {self._every:,}"

    def rate(self, step: int) -> float:
        """Return 1 / n at the n-th of the steps that count."""
        return 1 / self._count(step) if step % self._every == 0 and self.begun(step) else 0.0

    def begun(self, step: int) -> bool:
        """Return whether the weights of a step were taken."""
        return self._count(step) > 0

    def _count(self, step: int) -> int:
        return step // self._every - self._first + 1


def _compute_statistics(run: TrainingRun) -> None:
    """Set running statistics to the mean of those of some microbatches of the training samples (collective)."""
    like, arena = run.loader, run.setup.arena
    loader = Loader(
        like.split,
        batch_size=like.batch_size,
        rank=like.rank,
        size=like.size,
        seed=like.seed,
        normalizer=run.setup.normalizer,
        microbatches=like.microbatches,
        virtual_ranks=like.virtual_ranks,
        prefetch=0,
        device=arena.device,
        targets=False,
    )
    norms = [layer for layer in run.setup.model.layers() if isinstance(layer, BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    ctx = Context(seed=run.config.run.seed, device=arena.device)
    batches = itertools.chain.from_iterable(loader.epoch(0))
    for count, batch in enumerate(itertools.islice(batches, BATCHES), 1):
        for norm in norms:
            norm.momentum = 1 / count
        ctx.first = batch.first
        model = run.setup.model
        model.forward(as_activations(model, arena.device.from_host(batch.x), ctx), ctx)
        ctx.clear()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
