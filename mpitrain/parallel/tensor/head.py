"""A head with many outputs divided among ranks, and its loss, for which no rank has whole logits."""

from typing import Any

import numpy as np

from ...comm.group import Group
from ...context import Context
from ...head_loss import Head, HeadLoss
from ...layers import Layer
from ...losses import SoftmaxCrossEntropy
from ..moves import Copy, Gather
from .cross_entropy import DividedCrossEntropy
from .cut import Cut
from .divided import Divided

MULTIPLE = 128
"""Rows that count are padded to a multiple of this: plans of messages are kept for few numbers of rows."""


class DividedHead(Divided, Head):
    """y = x w + b with w divided by outputs: the parts of y are joined, but in training (``split_head``).

    Parameters
    ----------
    part : Linear or TiedHead
        This rank's outputs.
    cut : Cut
        Of the outputs.
    group : Group
    """

    def __init__(self, part: Layer, cut: Cut, group: Group):
        self.local = Divided(Copy(group), part)
        super().__init__(self.local, Gather(group, -1, cut.lengths))
        self.cut, self.group, self.num_outputs = cut, group, cut.length

    def with_loss(self, loss: SoftmaxCrossEntropy) -> "DividedHeadLoss":
        """Return the loss of x: the head's part and the loss of divided logits."""
        return DividedHeadLoss(self, DividedCrossEntropy(loss, self.cut, self.group))

    def children(self) -> Any:
        """Yield the steps."""
        return ((name, child) for name, child in super().children() if name != "local")


class DividedHeadLoss(HeadLoss):
    """The loss of a divided head as a function of x, which is the same on all ranks.

    Parameters
    ----------
    head : DividedHead
    loss : DividedCrossEntropy

    Notes
    -----
    As in ``HeadLoss``, logits are computed in chunks, of which a rank has its columns. Messages of a chunk: four
    numbers of each row, and the sum of dx.
    """

    def __init__(self, head: DividedHead, loss: DividedCrossEntropy):
        super().__init__(head.local, loss)
        self.num_outputs = head.num_outputs
        self.chunk_outputs = max(head.cut.lengths)  # the same on all ranks

    def _counted(self, x: np.ndarray, targets: np.ndarray, ctx: Context) -> tuple[np.ndarray, np.ndarray, Any]:
        rows, flat, places = super()._counted(x, targets, ctx)
        more = -len(rows) % MULTIPLE
        if places is None or not more:
            return rows, flat, places
        padded = self._context(ctx).empty(self, "padded rows", (len(rows) + more, rows.shape[1]))
        padded[: len(rows)], padded[len(rows) :] = rows, 0
        return padded, np.concatenate([flat, np.full(more, self.loss.ignore_index, flat.dtype)]), places
