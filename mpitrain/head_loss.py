"""The last layer of a model and its loss in one pass, some rows at a time, so that all logits are never in memory.

    rows of x -> logits -> loss, and the gradient over the logits -> dx of the rows, dw added

A language model has as many logits for each token as words, which take more memory than all else that it keeps. Their
gradient is known as soon as they are (Wijmans et al. 2024, "Cut your losses", arXiv 2411.09009; Hsu et al. 2024, "Liger
Kernel", arXiv 2410.10989), and since nothing is divided later than by the optimizer, it is final
(docs/decisions/0026-logits-in-chunks.md).
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np

from .context import Context
from .errors import UserError
from .layers import Layer, Linear, Part, Recompute, Sequential, TiedHead
from .layers.linear import as_rows
from .losses import DividedLoss, Loss, SoftmaxCrossEntropy, Totals

LARGE = 1024
"""Outputs from which on a head and its loss are computed together."""

CHUNK_BYTES = 32 << 20
"""Logits of a chunk: they stay in the cache between the product that writes them and those that read them."""

LEAST_ROWS, LEAST_ROWS_OF_A_GPU = 512, 2048
"""Rows of a chunk: fewer would read the weights, and write their gradient, too often."""

LINE = 64
"""Rows of a GPU's logits begin at multiples of so many elements: products then move 16 bytes at a time."""


class Head(Layer):
    """A last layer that computes its loss in its own way (``parallel/tensor/head.py``)."""

    num_outputs: int

    @abstractmethod
    def with_loss(self, loss: SoftmaxCrossEntropy) -> "HeadLoss":
        """Return the loss of this layer's result as a function of its x."""


class HeadLoss(Loss):
    """The loss of ``head(x)`` as a function of x.

    Parameters
    ----------
    head : Linear or TiedHead
        Outputs (..., K) of x (..., C); or one that computes a part of them.
    loss : SoftmaxCrossEntropy

    Attributes
    ----------
    num_outputs, chunk_outputs : int
        K, and the logits of a row that this rank holds at a time.

    Notes
    -----
    In training, ``forward`` computes the gradients, too: dx is kept for ``backward``, and the gradients of the head are
    added into their views. ``backward`` reports them written: by then the sums of the loss are in the arena's header,
    which travels with the first of them. Rows that the loss ignores are left out on a CPU, if there are any.
    """

    def __init__(self, head: Layer, loss: SoftmaxCrossEntropy):
        self.head, self.loss = head, loss
        self.num_outputs = self.chunk_outputs = getattr(head, "num_outputs", 0)
        self._chunk: Context | None = None

    def forward(self, outputs: np.ndarray, targets: np.ndarray, ctx: Context) -> Totals:
        """Return the sums of the loss, given x as ``outputs``."""
        rows, flat, places = self._counted(outputs, targets, ctx)
        dx: np.ndarray = ctx.lend(self, "dx", rows.shape)
        chunk, totals = self._context(ctx), None
        with ExitStack() as stack:
            for _, p in self.head.named_parameters():
                stack.enter_context(p.in_parts())
            for part in self._parts(len(rows), ctx):
                logits = self.head.forward(rows[part], chunk)
                totals, dlogits = self.loss.gradient(logits, flat[part], chunk, totals)
                dx[part] = self.head.backward(dlogits, chunk)
        ctx[self] = dx, places, outputs.shape
        assert totals is not None
        return totals

    def backward(self, ctx: Context) -> np.ndarray:
        """Return dx, and report the gradients of the head."""
        for _, p in self.head.named_parameters():
            if not p.accumulate and not p.frozen:  # no row has counted
                p.grad.fill(0)
            p.written()
        dx: np.ndarray
        dx, places, shape = ctx[self]
        if places is None:
            return dx.reshape(shape)
        whole: np.ndarray = ctx.backward.lend(self, "dx", shape)
        whole.fill(0)
        as_rows(whole)[places] = dx[: len(places)]
        return whole

    def evaluate(self, outputs: np.ndarray, targets: np.ndarray, ctx: Context) -> Totals:
        """Return the sums of the loss, given x as ``outputs``."""
        rows, flat, _ = self._counted(outputs, targets, ctx)
        chunk, totals = self._context(ctx), None
        for part in self._parts(len(rows), ctx):
            totals = self.loss.gradient(self.head.forward(rows[part], chunk), flat[part], chunk, totals)[0]
        assert totals is not None
        return totals

    def diagnose(self, targets: np.ndarray, num_outputs: int) -> str:
        """Return the error in targets."""
        return self.loss.diagnose(targets, self.num_outputs)

    def memory(self) -> int:
        """Return the bytes of one chunk."""
        return 0 if self._chunk is None else self._chunk.num_bytes

    def _context(self, ctx: Context) -> Context:
        """Return the memory of one chunk, which all microbatches use in turn, and backward after them."""
        if self._chunk is None or not self._chunk.shares_with(ctx):
            self._chunk = Context(dtype=ctx.dtype, device=ctx.device, share=ctx)
            self._chunk.row_multiple = LINE if _is_gpu(ctx) else 1
        return self._chunk

    def _counted(self, x: np.ndarray, targets: np.ndarray, ctx: Context) -> tuple[np.ndarray, np.ndarray, Any]:
        """Return the rows that count, their targets, and their places; None for all."""
        rows, flat = as_rows(x), targets.reshape(-1)
        if targets.dtype.kind == "f" and targets.ndim == x.ndim:  # probabilities of the classes
            return rows, targets.reshape(len(rows), targets.shape[-1]), None
        if len(flat) != len(rows):
            raise UserError(f"there are outputs for {len(rows)} targets, but {len(flat)} targets")
        if not isinstance(flat, np.ndarray) or not (flat == self.loss.ignore_index).any():
            return rows, flat, None
        places = np.flatnonzero(flat != self.loss.ignore_index)
        some = self._context(ctx).empty(self, "rows", (len(places), rows.shape[1]))
        np.take(rows, places, axis=0, out=some, mode="clip")
        return some, flat[places], places

    def _parts(self, num_rows: int, ctx: Context) -> Iterator[slice]:
        """Yield chunks of nearly equal numbers of rows; one that is empty where there are no rows."""
        most = max(LEAST_ROWS_OF_A_GPU if _is_gpu(ctx) else LEAST_ROWS, CHUNK_BYTES // (4 * self.chunk_outputs))
        count = max(1, -(-num_rows // most))
        for i in range(count):
            yield slice(num_rows * i // count, num_rows * (i + 1) // count)


def split_head(model: Layer, loss: Loss) -> tuple[Layer, Loss]:
    """Return the model without its last layer, and the loss with it; both as they are where that does not pay.

    It does where the model ends with a Linear or TiedHead of ``LARGE`` outputs or more and the loss is a
    ``SoftmaxCrossEntropy``. Names and values of parameters do not change, and the model gives whole outputs as before.
    """
    if type(loss) is DividedLoss:
        body, made = split_head(model, loss.loss)
        return (model, loss) if made is loss.loss else (body, DividedLoss(made, loss.targets))
    if type(model) is Recompute:
        body, made = split_head(model.layer, loss)
        if made is loss:
            return model, loss
        again = Recompute(body)
        again.needs_dx = model.needs_dx
        return again, made
    if not isinstance(model, Sequential) or type(model).forward not in (Sequential.forward, Part.forward):
        return model, loss
    units = model.units()
    head = units[-1].layer if units else model
    known = isinstance(head, Head) or type(head) in (Linear, TiedHead)
    if not known or type(loss) is not SoftmaxCrossEntropy:
        return model, loss
    assert isinstance(head, Head | Linear | TiedHead)
    if head.num_outputs < LARGE or not head.needs_dx:
        return model, loss
    made = head.with_loss(loss) if isinstance(head, Head) else HeadLoss(head, loss)
    return model.part(0, len(units) - 1), made


def _is_gpu(ctx: Context) -> bool:
    return ctx.device.captures
