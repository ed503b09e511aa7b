"""Batch normalisation of images."""

from collections.abc import Callable

import numpy as np

from .. import ops
from ..arena import Parameter, State
from ..saved import Saved
from . import init
from .base import Layer
from .gradient import put_gradient


class BatchNorm2d(Layer):
    """y = w (x - mean) / sqrt(var + eps) + b for each channel (Ioffe and Szegedy 2015, arXiv 1502.03167).

    Parameters
    ----------
    num_channels : int
        C.
    momentum : float
        Of the running statistics: running += momentum (batch - running).
    eps : float

    Attributes
    ----------
    sum_over_ranks : callable(array) or None
        Sums a small float64 vector over ranks in place, and returns it as an array of the host; called once in each
        training forward and once in each backward, also with N = 0. None: statistics are of this rank's samples alone,
        and a step depends on the number of ranks.
    relu : bool
        Whether a ReLU is done in the same pass (``fuse_relu``).

    Notes
    -----
    x is (N, H, W, C), y alike. Training uses mean and (biased) variance of the batch; evaluation uses the running
    ones, whose variance is unbiased. ``backward`` is that of training. With r = 1 / sqrt(var + eps), the normalised
    z = (x - mean) r and n pixels,

        db = sum dy,    dw = sum dy z,    dx = w r (dy - db / n - z dw / n),

    with db and dw summed over ranks in dx, but not in what is stored: all gradients are summed later.

    Each rank centres on its own mean and sends (n, n mean, sum of squares about 0) made of it in double precision,
    which loses nothing that the single-precision x had. ``offset`` is its own mean less that of all ranks.
    """

    def __init__(self, num_channels: int, momentum: float = 0.1, eps: float = 1e-5):
        self.num_channels, self.momentum, self.eps = num_channels, momentum, eps
        self.weight = Parameter((num_channels,), init.ones, decay=False)
        self.bias = Parameter((num_channels,), init.zeros, decay=False)
        self.running_mean = State((num_channels,), fill=0)
        self.running_var = State((num_channels,), fill=1)
        self.sum_over_ranks: Callable[[np.ndarray], np.ndarray] | None = None
        self.relu = False

    def forward(self, x: np.ndarray, saved: Saved) -> np.ndarray:
        """Return the normalised images, scaled and shifted; in training, update the running statistics."""
        y = saved.empty(self, "y", x.shape)
        w, b = self.weight.data.astype(np.float64), self.bias.data.astype(np.float64)
        if not saved.training:
            scale = w / np.sqrt(self.running_var.data + self.eps)
            ops.batchnorm(x, self.running_mean.data.astype(np.float64), scale, b, y, self.relu)
            return y
        own, count, mean, var = self._statistics(x, saved)
        r, offset = 1 / np.sqrt(var + self.eps), own - mean
        ops.batchnorm(x, own, w * r, b + w * r * offset, y, self.relu)
        if saved.updates_statistics:
            self._update_running(count, mean, var)
        saved[self] = x, own, y if self.relu else None, count, r, offset
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Write dw and db of this rank's samples, return dx."""
        x, own, y, count, r, offset = saved[self]
        db, dots = np.empty_like(r), np.empty_like(r)
        ops.batchnorm_sums(dy, x, own, y, db, dots, saved.scratch)
        dw = r * (dots + offset * db)
        put_gradient(self.bias, db)
        put_gradient(self.weight, dw)
        if self.sum_over_ranks is not None:
            sums = np.concatenate([db, dw])
            self.sum_over_ranks(sums)
            db, dw = np.split(sums, 2)
        dx = saved.empty(self, "dx", dy.shape)
        scale = self.weight.data * r
        slope = -scale * r * dw / max(1, count)
        ops.batchnorm_dx(dy, x, own, y, scale, slope, slope * offset - scale * db / max(1, count), dx, saved.scratch)
        return dx

    def _statistics(self, x: np.ndarray, saved: Saved) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
        """Return this rank's mean, and pixels, mean and variance over all ranks."""
        own, squares = np.empty_like(x, np.float64, shape=(2, self.num_channels))
        ops.batchnorm_statistics(x, own, squares, saved.scratch)
        count = x.size // self.num_channels
        if self.sum_over_ranks is None:
            return own, count, own, squares / max(1, count)
        sums = np.concatenate([np.full_like(own[:1], count), count * own, squares + count * own**2])
        total = float(self.sum_over_ranks(sums)[0])
        mean, mean_square = np.split(sums[1:] / max(1.0, total), 2)
        return own, total, mean, np.maximum(mean_square - mean**2, 0)

    def _update_running(self, count: float, mean: np.ndarray, var: np.ndarray) -> None:
        if count:
            unbiased = var * (count / max(1, count - 1))
            self.running_mean.data += self.momentum * (mean - self.running_mean.data)
            self.running_var.data += self.momentum * (unbiased - self.running_var.data)
