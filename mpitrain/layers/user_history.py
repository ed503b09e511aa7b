"""Vectors of users and of their latest items, and the column of the user alone.

Shapes: n samples, K items of the history.
"""

import numpy as np

from ..context import Context
from .base import Layer, empty_gradient
from .embedding import Embedding


class FirstColumn(Layer):
    """y = x[:, 0]: the codes of the users, (n, 1 + K) -> (n,) integer. There is no dx."""

    def __init__(self) -> None:
        self.needs_dx = False

    def ask_dx(self, needed: bool) -> None:
        """Do nothing: integers have no gradient."""

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return a copy of the column."""
        y: np.ndarray = ctx.empty(self, "y", (len(x),), np.int64)
        y[...] = x[:, 0]
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return nothing."""
        return empty_gradient(dy)


class UserHistory(Layer):
    """y = (users[x_0], mean of items[x_k] over the items of the history): as in Covington et al. 2016, figure 3.

    Parameters
    ----------
    users : Embedding or None
        Vectors of the users; None for the history alone, which describes users that nobody has trained, too.
    items : Embedding
        Vectors of the items.

    Notes
    -----
    x is (n, 1 + K) integer: the user, and K items of which 0 stands for none; y (n, A + D) for vectors of A and D
    numbers. The mean of no items is 0. ("Deep neural networks for YouTube recommendations", RecSys 2016.) There is no
    dx.
    """

    def __init__(self, users: Embedding | None, items: Embedding):
        self.users, self.items = users, items
        self.needs_dx = False

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the vectors of users and histories, side by side."""
        offset = 0 if self.users is None else self.users.size
        y: np.ndarray = ctx.lend(self, "y", (len(x), offset + self.items.size))
        if self.users is not None:
            user: np.ndarray = ctx.empty(self, "user", (len(x),), np.int64)
            user[...] = x[:, 0]
            y[:, :offset] = self.users.forward(user, ctx)
        ids: np.ndarray = ctx.empty(self, "ids", (len(x), x.shape[1] - 1), np.int64)
        ids[...] = x[:, 1:]
        weights: np.ndarray = ctx.empty(self, "weights", (*ids.shape, 1))
        weights[..., 0] = ids > 0
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
        vectors = self.items.forward(ids, ctx)
        vectors *= weights
        np.sum(vectors, axis=1, out=y[:, offset:])
        ctx[self] = weights
        return y

    def ask_dx(self, needed: bool) -> None:
        """Do nothing: integers have no gradient."""

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradients of both tables."""
        weights = ctx[self]
        offset = 0 if self.users is None else self.users.size
        if self.items.trains:
            shape = (len(dy), weights.shape[1], self.items.size)
            dvectors: np.ndarray = ctx.backward.lend(self, "dvectors", shape)
            np.multiply(dy[:, None, offset:], weights, out=dvectors)
            self.items.backward(dvectors, ctx)
        if self.users is not None and self.users.trains:
            duser: np.ndarray = ctx.backward.lend(self, "duser", (len(dy), offset))
            duser[...] = dy[:, :offset]
            self.users.backward(duser, ctx)
        return empty_gradient(dy)
