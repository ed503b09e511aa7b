"""The base of layers that normalize each row, perhaps of the sum of a residual connection."""

import math
from abc import abstractmethod
from functools import partial
from typing import Any

import numpy as np

from ..context import Context
from ..ops.elementwise import add
from ..ops.workspace import Keep
from ..parameter import Parameter
from . import init
from .base import Layer


class RowNorm(Layer):
    """A layer that normalizes x (..., C) over the last dimension and scales it by a weight (C,).

    Parameters
    ----------
    size : int
        C.
    eps : float

    Notes
    -----
    ``forward_sum`` and ``backward_sum`` are forward and backward with the sum of a residual connection: on a GPU that
    takes no pass of its own. Nothing is put off in backward (``Context.later``): one pass computes all gradients.
    """

    def __init__(self, size: int, eps: float = 1e-5):
        self.size, self.eps = size, eps
        self.weight = Parameter((size,), init.ones, decay=False)

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the normalized rows."""
        return self.forward_sum(x, None, x, ctx)

    def forward_sum(self, x: np.ndarray, residual: np.ndarray | None, s: np.ndarray, ctx: Context) -> np.ndarray:
        """Write s = x + residual, unless it is x itself, and return the normalized rows of s, which must last."""
        y: np.ndarray = ctx.lend(self, "y", x.shape)
        added = None if residual is None else self._rows(residual)
        ctx[self] = self._normalize(self._rows(x), added, self._rows(s), self._rows(y), partial(ctx.empty, self))
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write parameter gradients, return dx."""
        return self.backward_sum(dy, None, ctx)

    def backward_sum(self, dy: np.ndarray, residual: np.ndarray | None, ctx: Context) -> np.ndarray:
        """Write parameter gradients; return the gradient over s, with ``residual`` added to it."""
        dx = self._room(dy, ctx)
        added = None if residual is None else self._rows(residual)
        self._differentiate(self._rows(dy), ctx[self], added, self._rows(dx))
        return dx

    def _rows(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(math.prod(x.shape[:-1]), self.size)

    @abstractmethod
    def _room(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return memory for dx."""

    @abstractmethod
    def _normalize(self, x: np.ndarray, residual: np.ndarray | None, s: np.ndarray, y: np.ndarray, keep: Keep) -> Any:
        """Write s and y, and return what backward needs."""

    @abstractmethod
    def _differentiate(self, dy: np.ndarray, kept: Any, residual: np.ndarray | None, dx: np.ndarray) -> None:
        """Put parameter gradients and write dx."""


def normalize_sum(norm: Layer, x: np.ndarray, residual: np.ndarray, s: np.ndarray, ctx: Context) -> np.ndarray:
    """Write s = x + residual and return ``norm.forward(s, ctx)``, in one pass where ``norm`` has one."""
    if _has_sums(norm):
        assert isinstance(norm, RowNorm)
        return norm.forward_sum(x, residual, s, ctx)
    add(x, residual, s)
    return norm.forward(s, ctx)


def differentiate_sum(norm: Layer, dy: np.ndarray, residual: np.ndarray, ctx: Context) -> np.ndarray:
    """Return ``norm.backward(dy, ctx) + residual``, in one pass where ``norm`` has one; alone where it needs no dx."""
    if not norm.needs_dx:
        return norm.backward(dy, ctx)
    if _has_sums(norm):
        assert isinstance(norm, RowNorm)
        return norm.backward_sum(dy, residual, ctx)
    dx = norm.backward(dy, ctx)
    add(dx, residual, dx)
    return dx


def _has_sums(norm: Layer) -> bool:
    """Return whether ``norm`` does what its class says: no subclass has another forward, and it is not observed."""
    return isinstance(norm, RowNorm) and type(norm).forward is RowNorm.forward and "forward" not in vars(norm)
