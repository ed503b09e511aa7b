"""PowerSGD: each matrix by two thin factors, from one step of subspace iteration that begins where the last one ended.

    P = M Q, summed | orthonormal columns of P | Q = M' P, summed | gradient = P Q'

Vectors and small matrices are sent whole, with the first sum. Kernels of convolutions are matrices of their last
dimension. Both sums are linear, so the result is that of the summed gradient.

Source: Vogels, Karimireddy & Jaggi 2019, "PowerSGD: practical low-rank gradient compression for distributed
optimization".
"""

import itertools
import math
import zlib
from collections.abc import Sequence

import numpy as np

from ...arena import Parameter
from ...errors import UserError
from ...ops.compress import thin_product
from .codec import Span
from .linear import LinearBucket, LinearCodec

LEAST_NORM = 1e-6  # of a column, relative to the norm before the others are projected out


class PowerSGD(LinearCodec):
    """Two thin factors of each matrix, with a warm start; vectors and small matrices whole."""

    def __init__(self, *, rank: int = 4, feedback: bool = True):
        if rank < 1:
            raise UserError(f"the codec 'powersgd': rank is {rank}, but must be 1 or more")
        self.rank, self.feedback = rank, feedback

    @property
    def slot_names(self) -> tuple[str, ...]:
        """The error, and the factor Q of the last step at the start of its matrix."""
        return (*super().slot_names, "basis")

    def bucket(self, span: Span) -> LinearBucket:
        """Return a bucket's two messages."""
        return _Factors(self.rank, span)


class _Factors:
    def __init__(self, rank: int, span: Span):
        self._rank, self._span = rank, span
        shapes = [_shape(p) for p in span.parameters]
        self._places = [slice(p.start - span.start, p.stop - span.start) for p in span.parameters]
        self._low = [rank * (rows + columns) < rows * columns for rows, columns in shapes]
        self._shapes, self._names = shapes, [p.name for p in span.parameters]
        sizes = [
            (rows * rank, columns * rank) if low else (rows * columns, 0)
            for (rows, columns), low in zip(shapes, self._low, strict=True)
        ]
        ends = [list(itertools.accumulate((size[k] for size in sizes), initial=0)) for k in range(2)]
        self._parts = [[slice(a, b) for a, b in itertools.pairwise(some)] for some in ends]
        self.lengths: Sequence[int] = (ends[0][-1], ends[1][-1])[: 1 + any(self._low)]

    def encode(self, number: int, u: np.ndarray, messages: Sequence[np.ndarray]) -> None:
        """Write P and what is sent whole; then, from the sum of P, Q."""
        for k, place in enumerate(self._places):
            if not self._low[k]:
                if number == 0:
                    messages[0][self._parts[0][k]] = u[place]
                continue
            matrix, (left, right) = u[place].reshape(self._shapes[k]), self._factors(k, messages)
            if number == 0:
                np.matmul(matrix, self._start(k), out=left)
            else:
                orthonormalize(left)
                np.matmul(matrix.T, left, out=right)

    def subtract(self, u: np.ndarray, messages: Sequence[np.ndarray]) -> None:
        """Subtract this rank's part of P Q', and what is sent whole."""
        for k, place in enumerate(self._places):
            if self._low[k]:
                left, right = self._factors(k, messages)
                matrix = u[place].reshape(self._shapes[k])
                thin_product(-left, right.T.copy(), matrix, True)
            else:
                u[place] = 0

    def decode(self, messages: Sequence[np.ndarray], gradient: np.ndarray) -> None:
        """Write P Q', and keep Q."""
        for k, place in enumerate(self._places):
            if self._low[k]:
                left, right = self._factors(k, messages)
                thin_product(left, right.T.copy(), gradient[place].reshape(self._shapes[k]), False)
                self._basis(k)[...] = right if np.isfinite(right).all() else 0
            else:
                gradient[place] = messages[0][self._parts[0][k]]

    def _factors(self, k: int, messages: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return P and Q of a matrix, (rows, rank) and (columns, rank), as views of the messages."""
        left, right = (message[part[k]] for message, part in zip(messages, self._parts, strict=True))
        return left.reshape(-1, self._rank), right.reshape(-1, self._rank)

    def _basis(self, k: int) -> np.ndarray:
        """Return Q of the last step, (columns, rank): a view of the slot."""
        start, columns = self._places[k].start, self._shapes[k][1]
        basis: np.ndarray = self._span.slots["basis"][start : start + columns * self._rank]
        return basis.reshape(columns, self._rank)

    def _start(self, k: int) -> np.ndarray:
        """Return Q of the last step, with random columns in place of those that are zero, as all are at first."""
        basis = self._basis(k)
        empty = ~basis.any(0)
        if empty.any():
            draws = np.random.default_rng(zlib.crc32(self._names[k].encode()))
            basis[:, empty] = draws.standard_normal(basis.shape)[:, empty]
        return basis


def _shape(p: Parameter) -> tuple[int, int]:
    """Return a parameter's shape as a matrix."""
    columns = p.shape[-1] if p.shape else 1
    return p.size // max(1, columns), columns


def orthonormalize(columns: np.ndarray) -> None:
    """Make the columns (n, r) orthonormal in place, by Gram and Schmidt's method twice; dependent ones become zero.

    Sums are NumPy's own in double precision, not those of BLAS, whose bits depend on the number of threads.
    """
    done: list[np.ndarray] = []
    with np.errstate(all="ignore"):  # NaN stays NaN
        for k in range(columns.shape[1]):
            column = columns[:, k].astype(np.float64)
            before = math.sqrt(np.multiply(column, column).sum())
            for other in done * 2:
                column -= np.multiply(other, column).sum() * other
            norm = math.sqrt(np.multiply(column, column).sum())
            column = column / norm if not norm <= LEAST_NORM * before else np.zeros_like(column)
            columns[:, k] = column
            done.append(column)
