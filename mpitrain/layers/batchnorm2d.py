"""Batch normalization of images."""

from collections.abc import Callable
from copy import copy
from functools import partial

import numpy as np

from ..context import Context
from ..ops.batchnorm import Moments, Norm, batchnorm_backward, batchnorm_evaluate, batchnorm_train
from ..parameter import Parameter, Shard, State
from . import init
from .base import Layer, gradient_of
from .tail import take_over

NOT_KEPT: np.ndarray = np.empty(0)


class BatchNorm2d(Layer):
    """y = w (x - mean) / sqrt(var + eps) + b for each channel (Ioffe and Szegedy 2015, arXiv 1502.03167).

    Parameters
    ----------
    num_channels : int
        C.
    momentum : float
        Rate of the running statistics: running += momentum (batch - running).
    eps : float

    Attributes
    ----------
    sum_over_ranks : callable(array) or None
        Sums a small float64 vector over ranks in place, and returns it as an array of the host; called once in each
        training forward and once in each backward, also with N = 0. None: the statistics are of this rank's samples
        alone, and a step depends on the number of ranks.

    Notes
    -----
    x and y are (N, H, W, C). Training uses mean and (biased) variance of the batch; evaluation uses the running
    ones, whose variance is unbiased. ``backward`` is that of training. With r = 1 / sqrt(var + eps), the normalized
    z = (x - mean) r and n pixels,

        db = sum dy,    dw = sum dy z,    dx = w r (dy - db / n - z dw / n),

    with db and dw summed over ranks in dx, but not in the stored gradients: all gradients are summed later.

    Each rank centers on its own mean and sends (n, n mean, sum of squares about 0) computed from it in double
    precision, which loses nothing that the single-precision x had. ``offset`` is its own mean minus that of all ranks.
    """

    def __init__(self, num_channels: int, momentum: float = 0.1, eps: float = 1e-5):
        self.num_channels, self.momentum, self.eps = num_channels, momentum, eps
        self.weight = Parameter((num_channels,), init.ones, decay=False)
        self.bias = Parameter((num_channels,), init.zeros, decay=False)
        self.running_mean = State((num_channels,), fill=0)
        self.running_var = State((num_channels,), fill=1)
        self.sum_over_ranks: Callable[[np.ndarray], np.ndarray] | None = None

    def forward(self, x: np.ndarray, ctx: Context, relu: bool = False) -> np.ndarray:
        """Return the normalized images, scaled and shifted; with ``relu``, their maximum with 0.

        In training, the running statistics are updated. ``hand_over`` may have given the moments of x, and a residual
        block its sum and ReLU (``layers/tail.py``).
        """
        y: np.ndarray = ctx.lend(self, "y", x.shape)
        tail = take_over(self, ctx)
        residual, relu = (None, relu) if tail is None else tail
        norm = self._norm(self.momentum if ctx.updates_statistics else 0.0, relu)
        if not ctx.training:
            batchnorm_evaluate(x, norm, y, residual)
            return y
        moments = ctx.pop((self, "moments"), None)
        kept = batchnorm_train(x, norm, y, partial(ctx.empty, self), moments, residual)
        masks = tail is not None and relu
        ctx[self] = x, y if relu else None, norm._replace(weight=NOT_KEPT, bias=NOT_KEPT), kept, masks
        return y

    def ending(self) -> Layer | None:
        """Return itself; a subclass may compute something else."""
        return self if type(self) is BatchNorm2d else None

    def hand_over(self, moments: Moments | None, ctx: Context) -> None:
        """Take the moments of the x of the next ``forward`` in training, from the layer that computed it."""
        ctx[self, "moments"] = moments

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write dw and db of this rank's samples, return dx, which is never dy.

        Nothing is put off (``Context.later``), since dx is computed from dw and db. At the end of a residual block, dy
        becomes the gradient of both terms of its sum.
        """
        x, y, norm, kept, masks = ctx[self]
        norm = norm._replace(weight=self.weight.data, bias=self.bias.data)  # they may have been on other ranks
        dx: np.ndarray = ctx.backward.lend(self, "dx", dy.shape)
        batchnorm_backward(dy, x, y, norm, kept, gradient_of(self.weight), gradient_of(self.bias), dx, masks)
        return dx

    def part(self, shard: Shard) -> "BatchNorm2d":
        """Return the BatchNorm2d of some of the channels (dimension 0); its tensors are parts of these ones."""
        made = copy(self)
        made.weight, made.bias = self.weight.part(shard), self.bias.part(shard)
        made.running_mean, made.running_var = self.running_mean.part(shard), self.running_var.part(shard)
        made.num_channels = made.weight.size
        return made

    def _norm(self, momentum: float, relu: bool) -> Norm:
        parameters, states = (self.weight.data, self.bias.data), (self.running_mean.data, self.running_var.data)
        return Norm(*parameters, *states, momentum, self.eps, relu, self.sum_over_ranks)
