"""Metrics of rankings: recall and NDCG at k, of the next item of a user among all items, or among drawn ones.

Shapes: N samples, K classes.

The items that a user has had before are left out of the ranking, except for the target (``Split.hidden``). Where
outputs are those of no and yes, samples are lists: each begins with a click, class 1, and goes on with the items drawn
for it, class 0 (He et al. 2017, section 4.1). Outputs equal to that of the target are placed before it, so that a model
that tells nothing apart finds nothing.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import UserError
from .base import SummedMetric, class_rows, divided

PAIR = 2  # outputs of a pair: no and yes


def ranks(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the places of the targets, (N,) int64 from 0: how many other outputs are as large, or larger.

    A NaN counts as larger than any number.

    >>> ranks(np.array([[1.0, 3.0, 2.0], [1.0, 1.0, 0.0]]), np.array([2, 0])).tolist()
    [1, 1]
    """
    own = outputs[np.arange(len(targets)), targets][:, None]
    lacks = np.isnan(own)
    before: np.ndarray = ((outputs >= own) | np.isnan(outputs)).sum(axis=1) - 1
    return np.where(lacks[:, 0], np.isnan(outputs).sum(axis=1) - 1, before)


class Ranking(SummedMetric):
    """The mean of a gain that depends on the place of the target, of the first k places.

    Parameters
    ----------
    k : int
    """

    task = "classification"
    of_rankings = True

    def __init__(self, num_outputs: int, k: int = 10):
        self.k, self._pairs = k, list[tuple[np.ndarray, np.ndarray]]()
        super().__init__(num_outputs, 2)
        self.name = f"{self.name}@{k}"
        if k < 1 or (k >= num_outputs != PAIR):
            raise UserError(
                f"the metric '{self.name}' needs {max(k, 1) + 1} classes or more, and there are {num_outputs}"
            )

    @abstractmethod
    def gain(self, place: np.ndarray) -> np.ndarray:
        """Return the gain of places (N,) below k."""

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self._pairs = []

    def update(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Count samples, or keep the scores of pairs until lists are whole."""
        outputs, targets, weights = class_rows(outputs, targets, weights)
        if self.num_outputs == PAIR:
            self._pairs.append((outputs[:, 1].astype(np.float64) - outputs[:, 0], targets.copy()))
        else:
            self._count(ranks(outputs, targets), weights)

    def state(self) -> Any:
        """Return the sums, and the pairs of this rank."""
        return super().state(), self._joined()

    def merge(self, states: Sequence[Any]) -> None:
        """Add the sums of all ranks, and join their pairs, which follow each other."""
        super().merge([sums for sums, _ in states])
        self._pairs = [pairs for _, pairs in states]

    def result(self) -> float:
        """Return the mean gain; NaN without samples."""
        if self._pairs:
            self._count_lists(*self._joined())
            self._pairs = []
        total, gains = self.sums.values()
        return divided(gains, total)

    def _count(self, place: np.ndarray, weights: np.ndarray) -> None:
        found = place < self.k
        gains = np.where(found, self.gain(np.where(found, place, 0)), 0.0)
        self.sums.add(np.stack([weights, weights * gains], axis=1))

    def _count_lists(self, scores: np.ndarray, targets: np.ndarray) -> None:
        starts = np.flatnonzero(targets == 1)
        length = int(starts[1]) if len(starts) > 1 else len(targets)
        if not len(targets):
            return
        if len(targets) % length or not np.array_equal(starts, np.arange(0, len(targets), length)) or length < 2:
            raise UserError(
                f"the metric '{self.name}' of two classes is for lists of a click and items drawn for it, as of the "
                "source ratings:FILE,negatives=4"
            )
        lists = scores.reshape(-1, length)
        self._count(ranks(lists, np.zeros(len(lists), np.int64)), np.ones(len(lists)))

    def _joined(self) -> tuple[np.ndarray, np.ndarray]:
        if not self._pairs:
            return np.empty(0), np.empty(0, np.int64)
        scores, targets = (np.concatenate(arrays) for arrays in zip(*self._pairs, strict=True))
        return scores, targets


class Recall(Ranking):
    """Share of the samples whose item is among the first k: recall at k of one relevant item, or hit ratio."""

    def gain(self, place: np.ndarray) -> np.ndarray:
        """Return 1."""
        return np.ones(len(place))


class NDCG(Ranking):
    """Normalized discounted cumulative gain: 1 / log2(place + 2), places from 0 (Järvelin and Kekäläinen 2002)."""

    def gain(self, place: np.ndarray) -> np.ndarray:
        """Return 1 / log2(place + 2), which is that of the best place, 1, for one relevant item."""
        gains: np.ndarray = 1 / np.log2(place + 2.0)
        return gains
