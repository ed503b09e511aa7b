"""Mixture of the samples of a global batch in pairs, the same on any number of ranks.

The samples of a global batch, in the order of their random bits of the epoch, form a circle: each is mixed with the
next one. Who is next to whom depends on which samples are in the batch, and on nothing else; with two samples or more
none is mixed with itself. A rank takes the partners of its samples from the split by itself: no message is sent.

Shapes: n samples of a rank's microbatch; N of a split; K classes.
"""

import numpy as np

from ..rng import MIXING, random_bits
from .base import Mixing, Pairs
from .draws import Draws


class Mixer:
    """Pairs of a global batch, and their mixtures.

    Parameters
    ----------
    mixing : Mixing
    seed : int
    sample_shape : tuple of int
    """

    def __init__(self, mixing: Mixing, seed: int, sample_shape: tuple[int, ...]):
        self._mixing, self._seed, self._shape = mixing, seed, sample_shape

    def pairs(self, whole: np.ndarray, part: slice, epoch: int) -> Pairs:
        """Return the pairs of a part of a global batch.

        Parameters
        ----------
        whole : array of int64
            The places in the split of all samples of the global batch.
        part : slice
            Those of this rank.
        """
        order = np.argsort(random_bits(whole, self._seed, MIXING, epoch))
        partners = np.empty_like(whole)
        partners[order] = whole[np.roll(order, -1)]
        draws = Draws(whole[part], self._seed, MIXING, epoch, 1)
        return Pairs(partners[part], *self._mixing.shares(draws, self._shape))


def mix_values(rows: np.ndarray, own: np.ndarray, other: np.ndarray, pairs: Pairs, out: np.ndarray) -> None:
    """Write mixtures of float32 samples or targets, or of classes of pixels with boxes, to ``out`` (n, ...).

    Parameters
    ----------
    rows : (m, ...) array
        All that take part.
    own, other : (n,) arrays of int
        The places in ``rows`` of samples and of their partners.
    """
    np.take(rows, own, axis=0, out=out, mode="clip")
    if pairs.boxes is not None and out.ndim > 2:
        for image, place, (top, bottom, left, right) in zip(out, other.tolist(), pairs.boxes.tolist(), strict=True):
            image[top:bottom, left:right] = rows[place, top:bottom, left:right]
        return
    share = pairs.shares.reshape(-1, *(1,) * (out.ndim - 1))
    second = np.take(rows, other, axis=0, mode="clip")
    second *= 1 - share
    out *= share
    out += second


def mix_classes(rows: np.ndarray, own: np.ndarray, other: np.ndarray, pairs: Pairs, out: np.ndarray) -> None:
    """Write the probabilities of mixed classes to ``out`` (n, K): the share of one, the rest of the other."""
    out[...] = 0
    samples = np.arange(len(out))
    out[samples, rows[own]] = pairs.shares
    out[samples, rows[other]] += 1 - pairs.shares
