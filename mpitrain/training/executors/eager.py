"""Eager execution: one microbatch after the other, layer by layer."""

from collections.abc import Callable, Sequence
from typing import Any

from ...arena import Arena
from ...context import Context
from ...data.loader import Batch
from ...layers import Layer, as_activations
from ...losses import Loss


class EagerExecutor:
    """Computes the microbatches of a step one after the other in one context.

    Parameters
    ----------
    model : Layer
    loss : Loss
    arena : Arena
    ctx : Context
    """

    def __init__(self, model: Layer, loss: Loss, arena: Arena, ctx: Context):
        self.model, self.loss, self.arena, self.ctx = model, loss, arena, ctx

    def num_passes(self, batches: Sequence[Batch]) -> int:
        """Return the number of backward passes: one for each microbatch."""
        return len(batches)

    def run(self, batches: Sequence[Batch], step: int) -> None:
        """Compute the gradients of all microbatches."""
        for batch in batches:
            forward_backward(self.model, self.loss, batch, step, self.ctx, self.arena.add_totals)


def forward_backward(
    model: Layer, loss: Loss, batch: Batch, step: int, ctx: Context, add: Callable[[Any], None]
) -> None:
    """Do forward and backward of a batch; between them call ``add`` with the totals of the loss."""
    ctx.step, ctx.first = step, batch.first  # random numbers depend on them
    x = batch.x if ctx.dtype is ctx.sum_dtype else as_activations(model, batch.x, ctx)
    outputs = model.forward(x, ctx)
    add(loss.forward(outputs, batch.y, ctx))
    model.backward(loss.backward(ctx), ctx)
