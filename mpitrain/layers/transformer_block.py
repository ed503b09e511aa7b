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
from .row_norm import differentiate_sum, normalize_sum


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
        branch = self._through(self.attention, self.dropout1, self.norm1.forward(x, ctx), ctx)
        z: np.ndarray = ctx.lend(self, "z", x.shape)
        branch = self._through(self.mlp, self.dropout2, normalize_sum(self.norm2, x, branch, z, ctx), ctx)
        y: np.ndarray = ctx.lend(self, "y", x.shape)
        add(z, branch, y)
        return y

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
        dz = differentiate_sum(self.norm2, dz, dy, ctx)
        if not self.norm2.needs_dx:
            return empty_gradient(dy)
        dx = self._back(self.attention, self.dropout1, dz, ctx)
        if not self.attention.needs_dx:
            return empty_gradient(dy)
        dx = differentiate_sum(self.norm1, dx, dz, ctx)
        return dx if self.norm1.needs_dx else empty_gradient(dy)


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
        sums: np.ndarray = ctx.lend(self, "z", x.shape)
        z = normalize_sum(self.norm1, x, self._through(self.attention, self.dropout1, x, ctx), sums, ctx)
        sums = ctx.lend(self, "y", x.shape)
        return normalize_sum(self.norm2, z, self._through(self.mlp, self.dropout2, z, ctx), sums, ctx)

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
