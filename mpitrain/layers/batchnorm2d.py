"""Batch normalisation of images."""

from collections.abc import Callable
from functools import partial

import numpy as np

from .. import ops
from ..arena import Parameter, State
from ..saved import Saved
from . import init
from .base import Layer
from .gradient import gradient_of


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
        Whether a ReLU is done in the same pass (``fuse_activations``).

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
        norm = self._norm(self.momentum if saved.updates_statistics else 0.0)
        if not saved.training:
            ops.batchnorm_evaluate(x, norm, y)
            return y
        kept = ops.batchnorm_train(x, norm, y, partial(saved.empty, self), saved.scratch)
        saved[self] = x, y if self.relu else None, norm, kept
        return y

    def backward(self, dy: np.ndarray, saved: Saved) -> np.ndarray:
        """Write dw and db of this rank's samples, return dx."""
        x, y, norm, kept = saved[self]
        dx = saved.empty(self, "dx", dy.shape)
        dw, db = gradient_of(self.weight), gradient_of(self.bias)
        ops.batchnorm_backward(dy, x, y, norm, kept, dw, db, dx, saved.scratch)
        return dx

    def _norm(self, momentum: float) -> ops.Norm:
        parameters, states = (self.weight.data, self.bias.data), (self.running_mean.data, self.running_var.data)
        return ops.Norm(*parameters, *states, momentum, self.eps, self.relu, self.sum_over_ranks)
