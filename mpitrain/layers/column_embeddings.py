"""Learned vectors for the columns of a table that hold codes."""

import math
from collections.abc import Sequence

import numpy as np

from ..context import Context
from ..errors import UserError
from .base import Layer, empty_gradient
from .embedding import Embedding


class ColumnEmbeddings(Layer):
    """y = (columns of numbers, table_a[x_a], table_b[x_b], ...): numbers as they are, vectors in place of codes.

    Parameters
    ----------
    sizes : sequence of int
        Number of codes of each column; 0 for a column of numbers.
    dims : int or sequence of int, optional
        Sizes of the vectors, of all or of each column of codes; by default ``default_dim`` of each.
    std : float
        Standard deviation of the initial values.

    Raises
    ------
    UserError
        If no column has codes; in ``forward``, if a code is outside of its table (see ``Embedding``).

    Notes
    -----
    x is (n, F), int64 if all columns are codes and floats otherwise, y (n, C + sum of dims) for C columns of numbers
    (Guo and Berkhahn 2016, "Entity embeddings of categorical variables", arXiv 1604.06737). dx has zeros for codes.
    """

    def __init__(self, sizes: Sequence[int], dims: int | Sequence[int] | None = None, std: float = 0.02):
        self.columns = tuple(k for k, size in enumerate(sizes) if size)
        if not self.columns:
            raise UserError("embeddings of columns are for tables with categories, and all columns are numbers")
        self.numbers = tuple(k for k, size in enumerate(sizes) if not size)
        if dims is None:
            dims = [default_dim(sizes[k]) for k in self.columns]
        elif isinstance(dims, int):
            dims = [dims] * len(self.columns)
        if len(dims) != len(self.columns) or min(dims) < 1:
            raise UserError(f"there are {len(self.columns)} columns of codes, and vectors of {list(dims)} for them")
        self.tables = [Embedding(sizes[k], dim, std) for k, dim in zip(self.columns, dims)]
        self.num_outputs = len(self.numbers) + sum(dims)

    @property
    def only_codes(self) -> bool:
        """True if no column holds numbers: x is int64."""
        return not self.numbers

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return numbers and vectors, side by side."""
        y: np.ndarray = ctx.lend(self, "y", (len(x), self.num_outputs))
        for place, column in enumerate(self.numbers):
            y[:, place] = x[:, column]
        start = len(self.numbers)
        for number, (column, table) in enumerate(zip(self.columns, self.tables)):
            ids = ctx.empty(self, f"ids{number}", (len(x),), np.int64)
            ids[...] = x[:, column]
            y[:, start : start + table.size] = table.forward(ids, ctx)
            start += table.size
        return y

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this one; tables have no dx."""
        self.needs_dx = needed

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradients of the tables, and return dx of the numbers."""
        start = len(self.numbers)
        for table in self.tables:
            if table.trains:
                part: np.ndarray = ctx.backward.lend(table, "dy", (len(dy), table.size))
                part[...] = dy[:, start : start + table.size]
                table.backward(part, ctx)
            start += table.size
        if not self.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", (len(dy), len(self.numbers) + len(self.columns)))
        dx[...] = 0
        for place, column in enumerate(self.numbers):
            dx[:, column] = dy[:, place]
        return dx


def default_dim(size: int) -> int:
    """Return the size of the vectors of a column with ``size`` codes: 1.6 size^0.56, as in fastai, up to 64.

    >>> default_dim(2), default_dim(30), default_dim(100_000)
    (2, 11, 64)
    """
    wanted = 1.6 * math.pow(size, 0.56)
    return min(64, max(1, round(wanted)))
