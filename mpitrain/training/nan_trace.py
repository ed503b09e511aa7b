"""Origin of a non-finite loss or gradient, found by repeating the step.

The step is repeated layer by layer with the same weights, samples and random numbers, before anything is updated. What
is found first in the order of a step (samples, layers, loss, gradients) by any rank is the origin: a NaN of one rank
reaches the others in the next layer that takes statistics over all ranks.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from ..arena import Arena, Parameter
from ..comm.world import World
from ..context import Context
from ..data.loader import Batch
from ..device import device_of
from ..layers import Layer
from ..layers.base import Phase
from ..losses import Loss

SHOWN = 5  # samples that are named


class Finding(NamedTuple):
    """First non-finite value on one rank; the least over all ranks is the origin."""

    order: int
    rank: int
    text: str


def locate_non_finite(
    model: Layer, arena: Arena, loss: Loss, ctx: Context, microbatches: Sequence[Batch], world: World
) -> str:
    """Return the first non-finite value in this step, over all ranks (collective).

    Gradients are written again, and running statistics updated again.
    """
    search = _Search(world.rank)
    on_ready, arena.on_ready = arena.on_ready, search.gradient
    try:
        with search.watching(model), np.errstate(all="ignore"):
            arena.begin_step(len(microbatches))
            for batch in microbatches:
                search.batch = batch
                search.look(-1, "the samples themselves hold", batch.x)
                targets = device_of(batch.y).to_host(batch.y)
                search.look(-1, "their targets hold", targets.astype(np.float64))
                ctx.first = batch.first
                outputs = model.forward(batch.x, ctx)
                search.report(loss.diagnose(targets, outputs.shape[-1]))
                totals = loss.forward(outputs, batch.y, ctx)
                _, summed, _ = arena.device.to_host(totals)
                search.look(search.num_layers, "the loss is", np.full(len(batch), summed))
                model.backward(loss.backward(ctx), ctx)
    finally:
        arena.on_ready = on_ready
    found = [finding for finding in world.all_gather(search.found) if finding is not None]
    return min(found).text if found else "every rank's part is finite, their sum is not"


class _Search:
    def __init__(self, rank: int):
        self._rank = rank
        self.found: Finding | None = None
        self.batch: Batch | None = None
        self.num_layers = 0

    def look(self, order: int, what: str, x: np.ndarray) -> None:
        """Record ``what`` if it is the first array with a non-finite row of ``x`` (n, ...)."""
        if self.found is not None and self.found.order <= order:
            return
        x = device_of(x).to_host(x)
        bad = ~np.isfinite(x.reshape(len(x), -1)).all(axis=1) if x.size else np.zeros(len(x), bool)
        if not bad.any():
            return
        value = x[bad][~np.isfinite(x[bad])].flat[0]
        assert self.batch is not None
        samples = self.batch.indices[bad] if len(bad) == len(self.batch) else self.batch.indices
        self.found = Finding(order, self._rank, f"on rank {self._rank} {what} {value} for {_say_samples(samples)}")

    def report(self, text: str) -> None:
        """Record an error in targets or tokens, ahead of its consequences."""
        if text:
            self.found = Finding(-1, self._rank, f"on rank {self._rank} {text}")

    def gradient(self, p: Parameter) -> None:
        """Record the gradient of ``p`` if it is the first non-finite one."""
        grad = device_of(p.grad).to_host(p.grad)
        if self.found is None and not np.isfinite(grad).all():
            text = f"on rank {self._rank} the gradient of {p.name} is {grad[~np.isfinite(grad)].flat[0]}"
            self.found = Finding(self.num_layers + 1, self._rank, text)

    @contextmanager
    def watching(self, model: Layer) -> Iterator[None]:
        """Check the results of each layer inside a ``with`` block."""
        places = {layer: (order, name) for order, (name, layer) in enumerate(model.running())}
        self.num_layers = len(places)

        def observe(layer: Layer, phase: Phase, array: np.ndarray) -> None:
            order, name = places[layer]
            if phase == "forward":
                self.report(layer.diagnose(array))
            elif phase == "output":
                self.look(order, f"layer {name} ({layer.kind}) gives", array)

        stop = model.observe(observe)
        try:
            yield
        finally:
            stop()


def _say_samples(indices: np.ndarray) -> str:
    shown = ", ".join(map(str, indices[:SHOWN]))
    more = f" and {len(indices) - SHOWN} more" if len(indices) > SHOWN else ""
    return f"training sample{'s' * (len(indices) > 1)} {shown}{more}"
