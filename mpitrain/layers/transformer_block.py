"""Blocks of transformers: attention and a network for each token, with a shortcut around both.

A block is one unit of a model (``Sequential.units``), so that a pipeline cuts between blocks and ``--recompute blocks``
keeps one array for each.
"""

from collections.abc import Sequence

import numpy as np

from ..context import Context
from ..ops.elementwise import add
from .base import Layer, empty_gradient
from .dropout import Dropout


class _Block(Layer):
    """The shortcut that both kinds of blocks have.

    The attention and the network end with a Linear, which does not write over dy; so the gradient that goes through the
    shortcut and the one that goes through them are the same array.
    """

    def _ask(self, layers: Sequence[Layer], needed: bool) -> None:
        """Set ``needs_dx`` of this and of ``layers``, of which each takes the result of the one before."""
        self.needs_dx = needed
        for layer in layers:
            layer.ask_dx(needed)
            needed = needed or layer.trains

    def _through(self, branch: Layer, dropout: Dropout | None, x: np.ndarray, ctx: Context) -> np.ndarray:
        y = branch.forward(x, ctx)
        return y if dropout is None else dropout.forward(y, ctx)

    def _back(self, branch: Layer, dropout: Dropout | None, dy: np.ndarray, ctx: Context) -> np.ndarray:
        if dropout is not None:  # which writes over its dy
            copy: np.ndarray = ctx.backward.lend(dropout, "dy", dy.shape)
            np.copyto(copy, dy)
            dy = dropout.backward(copy, ctx)
        return branch.backward(dy, ctx)

    def _sum(self, a: np.ndarray, b: np.ndarray, name: str, ctx: Context) -> np.ndarray:
        y: np.ndarray = ctx.lend(self, name, a.shape)
        add(a, b, y)
        return y


class PreNormBlock(_Block):
    """z = x + attention(norm1(x)), y = z + mlp(norm2(z)) (Radford et al. 2019, "GPT-2"; Xiong et al. 2020, 2002.04745).

    Parameters
    ----------
    norm1, attention, norm2, mlp : Layer
        Each (N, T, C) -> (N, T, C); attention and mlp end with a Linear.
    dropout : float
        Probability that a number is dropped from what attention and mlp add.

    Notes
    -----
    With dz = dy + mlp's dx through norm2, dx = dz + attention's dx through norm1.
    """

    def __init__(self, norm1: Layer, attention: Layer, norm2: Layer, mlp: Layer, *, dropout: float = 0.0):
        self.norm1, self.attention = norm1, attention
        self.dropout1 = Dropout(dropout) if dropout else None
        self.norm2, self.mlp = norm2, mlp
        self.dropout2 = Dropout(dropout) if dropout else None

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return y."""
        z = self._sum(x, self._through(self.attention, self.dropout1, self.norm1.forward(x, ctx), ctx), "z", ctx)
        return self._sum(z, self._through(self.mlp, self.dropout2, self.norm2.forward(z, ctx), ctx), "y", ctx)

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of its layers."""
        self._ask((self.norm1, self.attention, self.norm2, self.mlp), needed)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradients of all parameters, or put them off; return dx.

        It ends at the first layer that needs no dx: those below have nothing to train.
        """
        dz = self._back(self.mlp, self.dropout2, dy, ctx)
        if not self.mlp.needs_dx:
            return empty_gradient(dy)
        dz = self.norm2.backward(dz, ctx)
        if not self.norm2.needs_dx:
            return empty_gradient(dy)
        add(dz, dy, dz)
        dx = self._back(self.attention, self.dropout1, dz, ctx)
        if not self.attention.needs_dx:
            return empty_gradient(dy)
        dx = self.norm1.backward(dx, ctx)
        if not self.norm1.needs_dx:
            return empty_gradient(dy)
        add(dx, dz, dx)
        return dx


class PostNormBlock(_Block):
    """z = norm1(x + attention(x)), y = norm2(z + mlp(z)) (Vaswani et al. 2017, arXiv 1706.03762; BERT).

    Parameters
    ----------
    attention, norm1, mlp, norm2 : Layer
        Each (N, T, C) -> (N, T, C); attention and mlp end with a Linear.
    dropout : float
        Probability that a number is dropped from what attention and mlp add.
    """

    def __init__(self, attention: Layer, norm1: Layer, mlp: Layer, norm2: Layer, *, dropout: float = 0.0):
        self.attention = attention
        self.dropout1 = Dropout(dropout) if dropout else None
        self.norm1, self.mlp = norm1, mlp
        self.dropout2 = Dropout(dropout) if dropout else None
        self.norm2 = norm2

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return y."""
        z = self.norm1.forward(self._sum(x, self._through(self.attention, self.dropout1, x, ctx), "z", ctx), ctx)
        return self.norm2.forward(self._sum(z, self._through(self.mlp, self.dropout2, z, ctx), "y", ctx), ctx)

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of its layers."""
        self._ask((self.attention, self.norm1, self.mlp, self.norm2), needed)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradients of all parameters, or put them off; return dx.

        It ends at the first layer that needs no dx: those below have nothing to train.
        """
        dsum = self.norm2.backward(dy, ctx)
        if not self.norm2.needs_dx:
            return empty_gradient(dy)
        dz = self._back(self.mlp, self.dropout2, dsum, ctx)
        if not self.mlp.needs_dx:
            return empty_gradient(dy)
        add(dz, dsum, dz)
        dsum = self.norm1.backward(dz, ctx)
        if not self.norm1.needs_dx:
            return empty_gradient(dy)
        dx = self._back(self.attention, self.dropout1, dsum, ctx)
        if not self.attention.needs_dx:
            return empty_gradient(dy)
        add(dx, dsum, dx)
        return dx
