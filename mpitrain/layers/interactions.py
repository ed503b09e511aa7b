"""Layers of recommenders: a network for the columns of numbers, dot products of vectors, codes of bounded size."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..context import Context
from ..ops.pairs import pair_products, pair_products_dv
from .base import Layer, empty_gradient


class OnNumbers(Layer):
    """y = (f(numbers), vectors): a layer for the first features, and the others as they are.

    Parameters
    ----------
    layer : Layer
        f, of (n, C).
    num_numbers : int
        C.

    Notes
    -----
    x is (n, C + R), y (n, outputs of f + R).
    """

    def __init__(self, layer: Layer, num_numbers: int):
        self.num_numbers, self.layer = num_numbers, layer

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the outputs of the layer, and the other features."""
        numbers: np.ndarray = ctx.lend(self, "numbers", (len(x), self.num_numbers))
        numbers[...] = x[:, : self.num_numbers]
        z = self.layer.forward(numbers, ctx)
        width = ctx[self] = z.shape[1]
        y: np.ndarray = ctx.lend(self, "y", (len(x), width + x.shape[1] - self.num_numbers))
        y[:, :width], y[:, width:] = z, x[:, self.num_numbers :]
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradients of the layer, and return dx."""
        width = ctx[self]
        dz: np.ndarray = ctx.backward.lend(self, "dz", (len(dy), width))
        dz[...] = dy[:, :width]
        numbers = self.layer.backward(dz, ctx)
        if not self.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", (len(dy), self.num_numbers + dy.shape[1] - width))
        dx[:, : self.num_numbers], dx[:, self.num_numbers :] = numbers, dy[:, width:]
        return dx

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of the layer."""
        self.needs_dx = needed
        self.layer.ask_dx(needed)


class DotInteraction(Layer):
    """y = (v_1, <v_1, v_2>, <v_1, v_3>, <v_2, v_3>, ...): the first vector, and the products of all pairs.

    Parameters
    ----------
    num_vectors, size : int
        K and D.
    keeps_first : bool
        y begins with v_1; without it, it has the products alone.

    Notes
    -----
    x is (n, K D), vectors side by side; y (n, D + K (K - 1) / 2). With p the products, dv_i = sum over j of dp_ij v_j.
    (Naumov et al. 2019, "Deep learning recommendation model for personalization and recommendation systems", arXiv
    1906.00091; Rendle 2010, "Factorization machines".)
    """

    def __init__(self, num_vectors: int, size: int, *, keeps_first: bool = True):
        self.num_vectors, self.size, self.first = num_vectors, size, size if keeps_first else 0
        self.num_outputs = self.first + num_vectors * (num_vectors - 1) // 2

    def _rows(self) -> Iterator[tuple[int, slice]]:
        """Yield each vector but the first, and the places in y of its products with those before it."""
        start = self.first
        for row in range(1, self.num_vectors):
            yield row, slice(start, start + row)
            start += row

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the first vector and the products."""
        n, count = len(x), self.num_vectors
        v = ctx[self] = x.reshape(n, count, self.size)
        products: np.ndarray = ctx.lend(self, "products", (n, count, count))
        pair_products(v, products)
        y: np.ndarray = ctx.lend(self, "y", (n, self.num_outputs))
        y[:, : self.first] = x[:, : self.first]
        for row, places in self._rows():
            y[:, places] = products[:, row, :row]
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dx."""
        if not self.needs_dx:
            return empty_gradient(dy)
        v, n, count = ctx[self], len(dy), self.num_vectors
        products: np.ndarray = ctx.backward.lend(self, "dp", (n, count, count))
        products[...] = 0
        for row, places in self._rows():
            products[:, row, :row] = products[:, :row, row] = dy[:, places]
        dx: np.ndarray = ctx.backward.lend(self, "dx", (n, count, self.size))
        pair_products_dv(products, v, dx)
        found: np.ndarray = dx.reshape(n, count * self.size)
        found[:, : self.first] += dy[:, : self.first]
        return found


class HashedColumns(Layer):
    """y = x with the codes of large columns modulo a number of rows, so that some of them share a vector.

    Parameters
    ----------
    sizes : sequence of int
        Number of codes of each column; 0 for a column of numbers.
    most : int
        The most rows of a table.

    Notes
    -----
    x and y are (n, F). (Weinberger et al. 2009, "Feature hashing for large scale multitask learning", arXiv 0902.2206;
    codes stand for themselves here, as in DLRM's ``max-ind-range``.)
    """

    def __init__(self, sizes: Sequence[int], most: int):
        self.most, self.sizes = most, tuple(min(size, most) for size in sizes)
        self._large = [column for column, size in enumerate(sizes) if size > most]

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the columns."""
        y: np.ndarray = ctx.empty(self, "y", x.shape, x.dtype)
        y[...] = x
        for column in self._large:
            y[:, column] %= self.most
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dy, with zeros for codes by the layer above."""
        return dy if self.needs_dx else empty_gradient(dy)
