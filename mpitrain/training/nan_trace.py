"""Origin of a non-finite loss or gradient, found by repeating the step.

The step is repeated layer by layer with the same weights, samples and random numbers, before anything is updated. What
is found first in the order of a step (samples, layers, loss, gradients) by any rank is the origin: a NaN of one rank
reaches the others in the next layer that takes statistics over all ranks.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..arena import Parameter
from ..comm.world import World
from ..context import Context
from ..data.loader import Batch, has_contents
from ..device import device_of
from ..layers import Layer
from ..layers.base import Phase
from ..losses import Loss, Totals
from ..parallel.pipeline.runner import PipelineRunner
from .executors.eager import forward_backward
from .run import TrainingRun

SHOWN = 5  # samples that are named

Order = tuple[float, int]
"""Stage of the model, and number of the layer in it; behind all stages the loss, then backward, last stage first."""
FIRST, LOSS, LOSS_GRADIENT = (-1.0, 0), (math.inf, -1), (math.inf, 0)


class Finding(NamedTuple):
    """First non-finite value on one rank; the least over all ranks is the origin."""

    order: Order
    rank: int
    text: str


def locate_non_finite(run: TrainingRun, microbatches: Sequence[Batch], step: int) -> str:
    """Return the first non-finite value in a step, over all ranks (collective).

    Gradients are written again, and running statistics updated again.

    Parameters
    ----------
    microbatches : sequence of Batch
        Those of this rank.
    step : int
        Counted from 0.
    """
    findings = run.world.all_gather(find_non_finite(run, microbatches, step))
    found = [finding for finding in findings if finding is not None]
    return min(found).text if found else "every rank's part is finite, their sum is not"


def find_non_finite(run: TrainingRun, microbatches: Sequence[Batch], step: int) -> Finding | None:
    """Return the first non-finite value in a step on this rank, as ``locate_non_finite``; None without any.

    Collective only where layers are, or stages of a pipeline.
    """
    setup, ctx = run.setup, run.ctx
    arena, model = setup.arena, setup.model
    stages = {0: model} if setup.pipeline is None else setup.pipeline.stages.own
    num_stages = 1 if setup.pipeline is None else setup.pipeline.stages.num_stages
    search = _Search(run.world, microbatches, stages, num_stages)
    loss = _WatchedLoss(setup.training_loss, search)
    search.look_at_samples()
    on_ready, arena.on_ready = arena.on_ready, search.gradient
    try:
        with search.watching(), np.errstate(all="ignore"):
            arena.begin_step(len(microbatches))
            if setup.pipeline is None:
                for search.number, batch in enumerate(microbatches):
                    forward_backward(model, loss, batch, step, ctx, search.loss)
            else:
                begin, channel = partial(setattr, search, "number"), setup.pipeline.channel
                runner = PipelineRunner(setup.pipeline.stages, channel, loss, ctx, begin=begin)
                runner.run(microbatches, step, search.loss)
    finally:
        arena.on_ready = on_ready
    return search.found


class _WatchedLoss(Loss):
    """A loss that reports errors in its targets."""

    def __init__(self, loss: Loss, search: "_Search"):
        self._loss, self._search = loss, search

    def forward(self, outputs: np.ndarray, targets: np.ndarray, ctx: Context) -> Totals:
        """Return the sums."""
        host = device_of(targets).to_host(targets)
        self._search.look(FIRST, "their targets hold", host.astype(np.float64))
        self._search.report(self._loss.diagnose(host, outputs.shape[-1]))
        return self._loss.forward(outputs, targets, ctx)

    def backward(self, ctx: Context) -> np.ndarray:
        """Return the gradient, after a look at it."""
        dy = self._loss.backward(ctx)
        self._search.look(LOSS_GRADIENT, "the gradient of the loss is", dy)
        return dy


class _Search:
    def __init__(self, world: World, microbatches: Sequence[Batch], stages: Mapping[int, Layer], num_stages: int):
        self._rank, self._name = world.rank, world.own_name
        self._microbatches, self._stages, self._num_stages = microbatches, stages, num_stages
        self._order_of = {  # backward comes to the last stage first
            id(p): num_stages - number for number, stage in stages.items() for _, p in stage.named_parameters()
        }
        self.found: Finding | None = None
        self.number = 0

    @property
    def batch(self) -> Batch:
        """The microbatch that is computed."""
        return self._microbatches[self.number]

    def look_at_samples(self) -> None:
        """Check the samples of all microbatches, where this rank has them."""
        for number, batch in enumerate(self._microbatches):
            self.number = number
            if has_contents(batch.x):
                self.look(FIRST, "the samples themselves hold", batch.x)

    def loss(self, totals: Any) -> None:
        """Check the totals of a loss."""
        _, summed, _ = totals if isinstance(totals, tuple) else device_of(totals).to_host(totals)
        self.look(LOSS, "the loss is", np.full(len(self.batch), summed))

    def look(self, order: Order, what: str, x: np.ndarray) -> None:
        """Record ``what`` if it is the first array with a non-finite row of ``x`` (n, ...)."""
        if self.found is not None and self.found.order <= order:
            return
        x = device_of(x).to_host(x)
        bad = ~np.isfinite(x.reshape(len(x), -1)).all(axis=1) if x.size else np.zeros(len(x), bool)
        if not bad.any():
            return
        value = x[bad][~np.isfinite(x[bad])].flat[0]
        samples = self.batch.indices[bad] if len(bad) == len(self.batch) else self.batch.indices
        self.found = Finding(order, self._rank, f"on {self._name} {what} {value} for {_say_samples(samples)}")

    def report(self, text: str) -> None:
        """Record an error in targets or tokens, ahead of its consequences."""
        if text:
            self.found = Finding(FIRST, self._rank, f"on {self._name} {text}")

    def gradient(self, p: Parameter) -> None:
        """Record the gradient of ``p`` if it is the first non-finite one."""
        grad = device_of(p.grad).to_host(p.grad)
        order = (math.inf, self._order_of[id(p)])
        if (self.found is None or order < self.found.order) and not np.isfinite(grad).all():
            text = f"on {self._name} the gradient of {p.name} is {grad[~np.isfinite(grad)].flat[0]}"
            self.found = Finding(order, self._rank, text)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Check the results of each layer of this rank's stages inside a ``with`` block."""
        places = {
            layer: ((number, order), name)
            for number, stage in self._stages.items()
            for order, (name, layer) in enumerate(stage.running())
        }

        def observe(layer: Layer, phase: Phase, array: np.ndarray) -> None:
            order, name = places[layer]
            if phase == "forward":
                self.report(layer.diagnose(array))
            elif phase == "output":
                self.look(order, f"layer {name} ({layer.kind}) gives", array)
            elif phase == "gradient":
                backward = (math.inf, self._num_stages - int(order[0]))
                self.look(backward, f"layer {name} ({layer.kind}) passes back", array)

        with contextlib.ExitStack() as stack:
            for stage in self._stages.values():
                stack.callback(stage.observe(observe))
            yield


def _say_samples(indices: np.ndarray) -> str:
    shown = ", ".join(map(str, indices[:SHOWN]))
    more = f" and {len(indices) - SHOWN} more" if len(indices) > SHOWN else ""
    return f"training sample{'s' * (len(indices) > 1)} {shown}{more}"
