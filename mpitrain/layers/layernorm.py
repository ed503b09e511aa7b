"""Layer normalization."""

from typing import Any

import numpy as np

from ..context import Context
from ..ops.layernorm import add_layernorm, add_layernorm_backward
from ..ops.workspace import Keep
from ..parameter import Parameter
from . import init
from .base import gradient_of
from .row_norm import RowNorm


class LayerNorm(RowNorm):
    """y = w (x - mean) / sqrt(var + eps) + b over the last dimension (Ba, Kiros and Hinton 2016, arXiv 1607.06450).

    Parameters
    ----------
    size : int
        C, the last dimension.
    eps : float

    Notes
    -----
    x and y are (..., C); each row is normalized alone, so no statistics are kept and none are shared.
    With g = w dy, z the normalized x and means over the last dimension, dx = r (g - mean(g) - z mean(g z)).
    """

    def __init__(self, size: int, eps: float = 1e-5):
        super().__init__(size, eps)
        self.bias = Parameter((size,), init.zeros, decay=False)

    def _room(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        room: np.ndarray = ctx.backward.lend(self, "dx", dy.shape)
        return room

    def _normalize(self, x: np.ndarray, residual: np.ndarray | None, s: np.ndarray, y: np.ndarray, keep: Keep) -> Any:
        return add_layernorm(x, residual, self.weight.data, self.bias.data, self.eps, s, y, keep)

    def _differentiate(self, dy: np.ndarray, kept: Any, residual: np.ndarray | None, dx: np.ndarray) -> None:
        gradients = gradient_of(self.weight), gradient_of(self.bias)
        add_layernorm_backward(dy, kept, self.weight.data, *gradients, residual, dx)
