"""Learned vectors for the columns of a table that hold codes."""

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from ..context import Context
from ..errors import UserError
from .base import Layer, empty_gradient
from .embedding import Embedding
from .init import UniformByCounter

LARGE = 1024
"""Rows of a table from which it is divided where tables are; smaller ones are whole on all ranks."""


class ColumnEmbeddings(Layer):
    """y = (columns of numbers, table_a[x_a], table_b[x_b], ...): numbers as they are, vectors in place of codes.

    Parameters
    ----------
    sizes : sequence of int
        Number of codes of each column; 0 for a column of numbers.
    dims : int or sequence of int, optional
        Sizes of the vectors, of all or of each column of codes; by default ``default_dim`` of each.
    std : float
        Standard deviation of the initial values, uniform draws.

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
        draws = UniformByCounter(std)  # a rank with some rows of a table draws these only
        self.tables = [Embedding(sizes[k], dim, init=draws) for k, dim in zip(self.columns, dims)]
        self.starts = list(accumulate(dims, initial=len(self.numbers)))
        self.num_outputs = self.starts[-1]

    @property
    def only_codes(self) -> bool:
        """True if no column holds numbers: x is int64."""
        return not self.numbers

    @property
    def large(self) -> list[int]:
        """The numbers of the large tables."""
        return [number for number, table in enumerate(self.tables) if table.num_embeddings >= LARGE]

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return numbers and vectors, side by side."""
        y = self.with_numbers(x, ctx)
        for number in range(len(self.tables)):
            self.put_vectors(number, x, y, ctx)
        return y

    def with_numbers(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return memory for y, with the columns of numbers in place."""
        y: np.ndarray = ctx.lend(self, "y", (len(x), self.num_outputs))
        for place, column in enumerate(self.numbers):
            y[:, place] = x[:, column]
        return y

    def put_vectors(self, number: int, x: np.ndarray, y: np.ndarray, ctx: Context) -> None:
        """Write the vectors of a table to their place in y."""
        ids = ctx.empty(self, f"ids{number}", (len(x),), np.int64)
        ids[...] = x[:, self.columns[number]]
        y[:, self.place_of(number)] = self.tables[number].forward(ids, ctx)

    def place_of(self, number: int) -> slice:
        """Return the columns of y with the vectors of a table."""
        return slice(self.starts[number], self.starts[number + 1])

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this one; tables have no dx."""
        self.needs_dx = needed

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradients of the tables, and return dx of the numbers."""
        for number in range(len(self.tables)):
            self.put_gradient(number, dy, ctx)
        return self.dx_of_numbers(dy, ctx)

    def put_gradient(self, number: int, dy: np.ndarray, ctx: Context) -> None:
        """Write the gradient of a table, if it is trained."""
        table = self.tables[number]
        if table.trains:
            part: np.ndarray = ctx.backward.lend(table, "dy", (len(dy), table.size))
            part[...] = dy[:, self.place_of(number)]
            table.backward(part, ctx)

    def dx_of_numbers(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dx, with zeros for codes."""
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
