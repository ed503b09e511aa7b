"""Softmax and cross-entropy of logits whose columns are divided among ranks.

Shapes: logits (M, K_r) of this rank, of K columns in all; targets (M,) integer, in [0, K), the same on all ranks.

Each rank sends four numbers of each row: its largest logit m_r, the sum of e = exp(logit - m_r), target - m_r if it has
the target, and the sum of (logit - m_r). All else is local. With m the largest m_r, f_r = exp(m_r - m) and
E = sum of f_r (sum of e)_r,

    loss = log E - (1 - smoothing) (target - m) - smoothing mean (logit - m),     dlogits = e f_r / E - q.

Megatron-LM sends three sums and divides smoothing by the number of its own columns; here it is spread over all K.
"""

from typing import Any

import numpy as np

from ...comm.group import Group
from ...context import Context
from ...errors import UserError
from ...losses import SoftmaxCrossEntropy, Totals, add_totals
from ...ops.softmax_cross_entropy import check_classes, totals_of
from ..moves.exchange import Exchange
from .cut import Cut


class DividedCrossEntropy(SoftmaxCrossEntropy):
    """The ``SoftmaxCrossEntropy`` of logits of which each rank has some columns; the sums are the same on all ranks.

    Parameters
    ----------
    loss : SoftmaxCrossEntropy
        Its options.
    cut : Cut
        Of the columns: each rank has neighbors.
    group : Group
    """

    def __init__(self, loss: SoftmaxCrossEntropy, cut: Cut, group: Group):
        super().__init__(loss.label_smoothing, loss.ignore_index, loss.class_weights)
        self.cut, self.group = cut, group
        self.first = sum(cut.lengths[: group.rank])
        self._exchange = Exchange(group, "softmax")
        self._lengths = np.array(cut.lengths)[:, None]
        self._stops = np.cumsum(cut.lengths)

    def forward(self, outputs: np.ndarray, targets: np.ndarray, ctx: Context) -> Totals:
        """Return (counted targets, the sum of their losses, the number of correct ones)."""
        gradient = ctx.empty(self, "gradient", outputs.shape)
        np.copyto(gradient, outputs)
        totals, ctx[self] = self._gradient(gradient, targets, ctx)
        return totals

    def backward(self, ctx: Context) -> np.ndarray:
        """Return the gradient by this rank's logits."""
        gradient: np.ndarray = ctx[self]
        return gradient

    def gradient(
        self, outputs: np.ndarray, targets: np.ndarray, ctx: Context, before: Any = None
    ) -> tuple[Totals, np.ndarray]:
        """Return the sums, added to ``before``, and their gradient by this rank's logits, in the memory of these.

        Arrays of a device are computed on the host.
        """
        totals, dlogits = self._gradient(outputs, targets, ctx)
        return add_totals(before, totals), dlogits

    def _gradient(self, outputs: np.ndarray, targets: np.ndarray, ctx: Context) -> tuple[Totals, np.ndarray]:
        if not isinstance(outputs, np.ndarray):
            return self._on_host(outputs, targets, ctx)
        if targets.dtype.kind == "f" and targets.ndim == outputs.ndim:
            raise UserError(
                "mixtures of samples (mixup, cutmix) do not go with a last layer whose outputs are divided over axis "
                "tensor: leave out --augment's mixture, or that axis"
            )
        if not np.issubdtype(targets.dtype, np.integer):
            raise UserError(f"cross-entropy needs integer targets (class numbers), but they are {targets.dtype}")
        logits, flat = outputs.reshape(targets.size, outputs.shape[-1]), targets.reshape(-1)
        flat, counted = check_classes(flat, self.cut.length, self.ignore_index)
        rows, columns = self._own(flat)
        sums = self._row_sums(logits, rows, columns)
        largest, total, target, mean, correct = self._merge(sums, flat)
        losses: np.ndarray = np.log(total) - (1 - self.label_smoothing) * target
        if self.label_smoothing:
            losses -= self.label_smoothing * mean
        logits *= (np.exp(sums[:, 0] - largest) / total)[:, None]
        logits[rows, columns] -= 1 - self.label_smoothing
        if self.label_smoothing:
            logits -= self.label_smoothing / self.cut.length
        if self.class_weights:
            weights = np.asarray(ctx.device.to_host(self._weights(self.cut.length, ctx)))[flat]
            losses *= weights
            logits *= weights[:, None]
        if counted is not None:
            logits *= counted[:, None]
        return Totals(*totals_of(losses, correct, counted)), outputs

    def _on_host(self, outputs: Any, targets: Any, ctx: Context) -> tuple[Any, Any]:
        device = ctx.device
        logits = np.array(device.to_host(outputs))
        totals, _ = self._gradient(logits, np.array(device.to_host(targets)), ctx)
        outputs[...] = device.from_host(logits)
        return device.from_host(np.array(totals, logits.dtype)), outputs

    def _own(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows whose targets are columns of this rank, and these columns."""
        columns = targets - self.first
        rows = np.flatnonzero((columns >= 0) & (columns < self.cut.lengths[self.group.rank]))
        return rows, columns[rows]

    def _row_sums(self, logits: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return the four numbers of each row, (M, 4), and turn the logits into e.

        The sum of e is negative where the target is the first largest logit of this rank, so that a fifth number, for
        the count of correct rows, is not sent.
        """
        sums = np.zeros((len(logits), 4), logits.dtype)
        if not logits.shape[1]:
            sums[:, 0] = -np.inf
            return sums
        best = logits.argmax(axis=1)
        sums[:, 0] = logits[np.arange(len(logits)), best]
        np.subtract(logits, sums[:, :1], out=logits)
        sums[rows, 2] = logits[rows, columns]
        if self.label_smoothing:
            np.add.reduce(logits, axis=1, out=sums[:, 3])
        np.exp(logits, out=logits)
        np.add.reduce(logits, axis=1, out=sums[:, 1])
        hits = rows[best[rows] == columns]
        sums[hits, 1] *= -1
        return sums

    def _merge(self, sums: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return, of each whole row, m, E, target - m, the mean of logit - m, and whether the target is the largest."""
        size, num_rows = self.group.size, len(sums)
        everyone = np.empty((size, num_rows, 4), sums.dtype)
        counts, places = [[sums.size] * size], list(enumerate(everyone))
        self._exchange.run("all_gather/ring", (num_rows,), counts, [(self.group.rank, sums)], places, like=sums)
        m, e, target, rest = (everyone[:, :, i] for i in range(4))  # (P, M)
        largest = m.max(axis=0, initial=-np.inf)
        apart = np.where(self._lengths > 0, m - largest, 0)  # a rank without columns has sums of 0
        owner, row = np.searchsorted(self._stops, targets, side="right"), np.arange(num_rows)
        total = (np.abs(e) * np.exp(apart)).sum(axis=0)
        mean = (rest + self._lengths * apart).sum(axis=0) / self.cut.length
        correct = (e[owner, row] < 0) & (m.argmax(axis=0) == owner)
        return largest, total, target[owner, row] + apart[owner, row], mean.astype(sums.dtype), correct
