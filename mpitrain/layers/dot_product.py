"""Scores of pairs of vectors: matrix factorization, and two networks side by side before it.

Shapes: n pairs, D numbers of a vector.
"""

import numpy as np

from ..context import Context
from ..ops.reduce import column_sum
from ..parameter import Parameter
from . import init
from .base import Layer, empty_gradient


class DotProduct(Layer):
    """y = b + p . q + p_bias + q_bias of each pair (Koren, Bell and Volinsky 2009, IEEE Computer 42, eq. 4).

    Parameters
    ----------
    size : int
        D.
    biases : bool
        Whether each vector has its bias behind it.
    num_outputs : int
        1, or 2 for logits of no and yes: y is then (0, y), whose softmax is the logistic function of y.
    l2 : float
        Adds ``l2`` (|p|^2 + |q|^2), biases included, to the loss of each pair: the penalty of a vector is in proportion
        to its pairs. It is in the gradient only, not in the loss that is shown.

    Notes
    -----
    x is (n, 2 D), or (n, 2 (D + 1)) with biases: p and then q; b is a scalar, y (n, 1) or (n, 2). Gradients: dp = dy q,
    dq = dy p, those of all biases dy.
    """

    def __init__(self, size: int, *, biases: bool = True, num_outputs: int = 1, l2: float = 0.0):
        self.size, self.width, self.num_outputs, self.l2 = size, size + biases, num_outputs, l2
        self.bias = Parameter((1,), init.zeros, decay=False)

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the scores."""
        size, width = self.size, self.width
        ctx[self] = x
        products: np.ndarray = ctx.lend(self, "products", (len(x), size))
        np.multiply(x[:, :size], x[:, width : width + size], out=products)
        y: np.ndarray = ctx.lend(self, "y", (len(x), self.num_outputs))
        score = y[:, -1]
        np.sum(products, axis=1, out=score)
        score += self.bias.data[0]
        if width > size:
            score += x[:, size]
            score += x[:, width + size]
        if self.num_outputs == 2:
            y[:, 0] = 0
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradient of b, and return dx."""
        x, size, width = ctx[self], self.size, self.width
        of_score: np.ndarray = ctx.backward.lend(self, "of_score", (len(x), 1))
        of_score[...] = dy[:, -1:]
        if not self.bias.frozen:
            column_sum(of_score, self.bias.grad, self.bias.accumulate)
            self.bias.written()
        if not self.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", x.shape)
        np.multiply(of_score, x[:, width : width + size], out=dx[:, :size])
        np.multiply(of_score, x[:, :size], out=dx[:, width : width + size])
        if width > size:
            dx[:, size] = of_score[:, 0]
            dx[:, width + size] = of_score[:, 0]
        if self.l2:
            dx += (2 * self.l2) * x
        return dx


class SideBySide(Layer):
    """y = (first(x_1), second(x_2)): two networks, each for a part of the columns of x = (x_1, x_2).

    Parameters
    ----------
    first, second : Layer
        Of (n, ...) -> (n, ...).
    size : int
        Columns of x_1.

    Notes
    -----
    x is (n, C), y (n, A + B) for results (n, A) and (n, B). dx is theirs, side by side.
    """

    def __init__(self, first: Layer, second: Layer, size: int):
        self.first, self.second, self.size = first, second, size

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return both results."""
        a = self.first.forward(_copied(ctx, self, "x1", x[:, : self.size]), ctx)
        b = self.second.forward(_copied(ctx, self, "x2", x[:, self.size :]), ctx)
        y: np.ndarray = ctx.lend(self, "y", (len(x), a.shape[1] + b.shape[1]))
        y[:, : a.shape[1]], y[:, a.shape[1] :] = a, b
        ctx[self] = a.shape[1], x.shape
        return y

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of both networks."""
        self.needs_dx = needed
        self.first.ask_dx(needed)
        self.second.ask_dx(needed)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dx of both networks; without ``needs_dx`` only those run that have something to train."""
        cut, shape = ctx[self]
        parts = [dy[:, cut:], dy[:, :cut]]
        found = []
        for number, (layer, part) in enumerate(zip((self.second, self.first), parts, strict=True)):
            if self.needs_dx or layer.trains:
                found.append(layer.backward(_copied(ctx.backward, self, f"dy{number}", part), ctx))
        if not self.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", shape)
        dx[:, self.size :], dx[:, : self.size] = found
        return dx


class NeuralFactorization(Layer):
    """y = (p_1 * q_1, tower(p_2, q_2)): the two parts of NeuMF (He et al. 2017, arXiv 1708.05031, figure 3).

    Parameters
    ----------
    factors : int
        F, the size of p_1 and q_1, whose element-wise product generalizes matrix factorization (GMF).
    tower : Layer
        The perceptron (MLP) of p_2 and q_2, (n, 2 M) -> (n, T).

    Notes
    -----
    x is (n, 2 (F + M)): p_1, p_2 of the user, then q_1, q_2 of the item; y (n, F + T). Gradients: dp_1 = dy_1 q_1,
    dq_1 = dy_1 p_1, and those of the tower.
    """

    def __init__(self, factors: int, tower: Layer):
        self.factors, self.tower = factors, tower

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return products and the result of the tower."""
        f, width = self.factors, x.shape[1] // 2
        rest: np.ndarray = ctx.lend(self, "rest", (len(x), x.shape[1] - 2 * f))
        rest[:, : width - f], rest[:, width - f :] = x[:, f:width], x[:, width + f :]
        deep = self.tower.forward(rest, ctx)
        y: np.ndarray = ctx.lend(self, "y", (len(x), f + deep.shape[1]))
        np.multiply(x[:, :f], x[:, width : width + f], out=y[:, :f])
        y[:, f:] = deep
        ctx[self] = x
        return y

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of the tower."""
        self.needs_dx = needed
        self.tower.ask_dx(needed)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dx of both parts."""
        x, f = ctx[self], self.factors
        width = x.shape[1] // 2
        drest = None
        if self.needs_dx or self.tower.trains:
            drest = self.tower.backward(_copied(ctx.backward, self, "dy", dy[:, f:]), ctx)
        if not self.needs_dx or drest is None:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", x.shape)
        np.multiply(dy[:, :f], x[:, width : width + f], out=dx[:, :f])
        np.multiply(dy[:, :f], x[:, :f], out=dx[:, width : width + f])
        dx[:, f:width], dx[:, width + f :] = drest[:, : width - f], drest[:, width - f :]
        return dx


def _copied(buffers: object, owner: Layer, name: str, part: np.ndarray) -> np.ndarray:
    """Return a contiguous copy of some columns, in memory lent by ``buffers``."""
    made: np.ndarray = buffers.lend(owner, name, part.shape)  # type: ignore[attr-defined]
    made[...] = part
    return made
