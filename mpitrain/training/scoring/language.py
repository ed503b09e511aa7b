"""Scores of language modeling: cross-entropy, perplexity, and bits per byte of the text.

Shapes: V tokens in the vocabulary; n rows of T tokens.
"""

import copy
import math
from collections.abc import Sequence

import numpy as np

from ...context import Context
from ...data.dataset import Split
from ...head_loss import split_head
from ...layers import Layer
from ...losses import Loss, SoftmaxCrossEntropy
from ...metrics import MetricSet

_MOST = 700.0  # the exponential of more does not fit in float64


class LanguageModeling:
    """Cross-entropy of the next token, and what follows from it.

    The loss is without label smoothing, whatever the training has: only so is its exponential the perplexity.

    Parameters
    ----------
    loss : SoftmaxCrossEntropy
        The loss of the training.
    metrics : MetricSet
    token_bytes : (V,) array of int64, optional
        Bytes of text that each token stands for; without it there are no bits per byte.
    """

    metric = "perplexity"
    larger_is_better = False
    num_sums = 4

    def __init__(self, loss: SoftmaxCrossEntropy, metrics: MetricSet, token_bytes: np.ndarray | None = None):
        self._smoothing, self.metrics, self._token_bytes = loss.label_smoothing, metrics, token_bytes
        self._loss: Loss = SoftmaxCrossEntropy() if loss.label_smoothing else loss
        bits = () if token_bytes is None else ("bits_per_byte",)
        self.names: tuple[str, ...] = ("loss", "perplexity", *bits, "accuracy")

    def sums(self, outputs: np.ndarray, targets: np.ndarray, saved: Context) -> np.ndarray:
        """Return weight, loss, correct, bytes."""
        device = saved.device
        found = device.to_host(self._loss.evaluate(outputs, device.from_host(targets), saved))
        return np.append(np.asarray(found, np.float64), self._count_bytes(targets))

    def _count_bytes(self, targets: np.ndarray) -> int:
        if self._token_bytes is None:
            return 0
        return int(self._token_bytes[targets[targets >= 0]].sum())

    def scores(self, sums: np.ndarray, splits: Sequence[Split]) -> dict[str, float]:
        """Return loss, perplexity, bits per byte where bytes are known, and accuracy."""
        weight, loss, correct, num_bytes = sums
        mean = float(loss / max(1.0, weight))
        scores = {"loss": mean, "perplexity": perplexity(mean)}
        if self._token_bytes is not None:
            scores["bits_per_byte"] = float(loss / math.log(2) / max(1.0, num_bytes))
        return scores | {"accuracy": float(correct / max(1.0, weight))}

    def train_scores(self, weight: float, loss: float, correct: float) -> dict[str, float]:
        """Return loss, accuracy and, without label smoothing, perplexity of training steps."""
        mean = float(loss / max(1.0, weight))
        exact = {} if self._smoothing else {"perplexity": perplexity(mean)}
        return {"loss": mean, **exact, "accuracy": float(correct / max(1.0, weight))}

    def split(self, model: Layer) -> "tuple[Layer, LanguageModeling]":
        """Return the model without a large head, which is computed with the loss; metrics need all logits."""
        if self.metrics:
            return model, self
        made = copy.copy(self)
        body, made._loss = split_head(model, self._loss)
        return body, made

    def readable(self, outputs: np.ndarray) -> np.ndarray:
        """Return the logits as they are."""
        return outputs


def perplexity(loss: float) -> float:
    """Return exp(loss), the number of tokens among which a uniform choice is as hard to predict."""
    return loss if math.isnan(loss) else math.exp(min(loss, _MOST))


def row_losses(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of losses (n,) float64 of each row, and the number of its targets (n,).

    Parameters
    ----------
    logits : (n, T, V) array
    targets : (n, T) array of int64
        Negative where there is none.
    """
    losses = np.zeros(len(targets))
    for row, (of_row, wanted) in enumerate(zip(logits, targets)):
        there = np.flatnonzero(wanted >= 0)
        shifted = of_row[there].astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True, initial=-np.inf)
        losses[row] = (np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(there)), wanted[there]]).sum()
    return losses, (targets >= 0).sum(axis=1)
