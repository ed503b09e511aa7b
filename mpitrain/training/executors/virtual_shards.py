"""Virtual shards: the same bits on any number of ranks (``--reproducible``)."""

from collections.abc import Sequence

from ...context import Context
from ...data.loader import Batch
from ...layers import Layer
from ...losses import Loss
from ...parallel.virtual_shards import Add, VirtualShards
from .eager import forward_backward


class VirtualShardsExecutor:
    """Computes the virtual shards of this rank, whose gradients are added in a fixed tree.

    Parameters
    ----------
    model : Layer
    loss : Loss
    shards : VirtualShards
    """

    def __init__(self, model: Layer, loss: Loss, shards: VirtualShards):
        self._model, self._loss, self._shards = model, loss, shards
        self._step = 0

    def num_passes(self, batches: Sequence[Batch]) -> int:
        """Return 1: the sum over the shards is written once."""
        return 1

    def run(self, batches: Sequence[Batch], step: int) -> None:
        """Compute the gradients of all shards."""
        self._step = step
        self._shards.run(batches, self._work)

    def _work(self, batch: Batch, ctx: Context, add: Add) -> None:
        forward_backward(self._model, self._loss, batch, self._step, ctx, add)
