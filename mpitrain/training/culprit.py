"""A loss or a gradient is no longer a number: do the step again and find out where that began.

The step is repeated layer by layer with the same weights, samples and random numbers, before anything is updated. What
is found first in the order of a step (samples, layers, loss, gradients) by any rank is the culprit: a NaN of one rank
reaches the others in the next layer that takes statistics over all ranks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from ..arena import Arena, Parameter
from ..comm.world import World
from ..data.loader import Batch
from ..device import device_of
from ..layers import Layer
from ..losses import Loss
from ..saved import Saved

SHOWN = 5  # samples that are named


class Finding(NamedTuple):
    """Where it began on one rank; the least of all ranks is the culprit."""

    order: int
    rank: int
    text: str


def find_culprit(
    model: Layer, arena: Arena, loss: Loss, saved: Saved, microbatches: Sequence[Batch], world: World
) -> str:
    """Return where numbers first went wrong in this step, over all ranks (who call this together).

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
                saved.first = batch.first
                outputs = model.forward(batch.x, saved)
                search.complain(loss.complaint(targets, outputs.shape[-1]))
                totals = loss.forward(outputs, batch.y, saved)
                _, summed, _ = arena.device.to_host(totals)
                search.look(search.num_layers, "the loss is", np.full(len(batch), summed))
                model.backward(loss.backward(saved), saved)
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
        """Note ``what`` if it is the first in which a row of ``x`` (n, ...) is not finite."""
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

    def complain(self, text: str) -> None:
        """Note what is wrong with targets or tokens, before anything that follows from it."""
        if text:
            self.found = Finding(-1, self._rank, f"on rank {self._rank} {text}")

    def gradient(self, p: Parameter) -> None:
        """Note the gradient of ``p`` if it is the first that is not finite."""
        grad = device_of(p.grad).to_host(p.grad)
        if self.found is None and not np.isfinite(grad).all():
            text = f"on rank {self._rank} the gradient of {p.name} is {grad[~np.isfinite(grad)].flat[0]}"
            self.found = Finding(self.num_layers + 1, self._rank, text)

    @contextmanager
    def watching(self, model: Layer) -> Iterator[None]:
        """Look at what each layer gives, as long as this lasts."""
        leaves = [(name, layer) for name, layer in _named(model) if not list(layer.children())]
        self.num_layers = len(leaves)
        try:
            for order, (name, layer) in enumerate(leaves):
                vars(layer)["forward"] = self._watched(layer, order, f"layer {name} ({type(layer).__name__}) gives")
            yield
        finally:
            for _, layer in leaves:
                vars(layer).pop("forward", None)

    def _watched(self, layer: Layer, order: int, what: str) -> Callable[[np.ndarray, Saved], np.ndarray]:
        forward = layer.forward

        def watched(x: np.ndarray, saved: Saved) -> np.ndarray:
            self.complain(layer.complaint(x))
            y = forward(x, saved)
            self.look(order, what, y)
            return y

        return watched


def _named(layer: Layer, name: str = "") -> Iterator[tuple[str, Layer]]:
    yield name, layer
    for key, child in layer.children():
        yield from _named(child, f"{name}.{key}" if name else key)


def _say_samples(indices: np.ndarray) -> str:
    shown = ", ".join(map(str, indices[:SHOWN]))
    more = f" and {len(indices) - SHOWN} more" if len(indices) > SHOWN else ""
    return f"training sample{'s' * (len(indices) > 1)} {shown}{more}"
