"""PowerSGD: each matrix by two thin factors, from one step of subspace iteration that begins where the last one ended.

    P = M Q, summed | orthonormal columns of P | Q = M' P, summed | gradient = P Q'

Vectors and small matrices are sent whole, with the first sum. Kernels of convolutions are matrices of their last
dimension. Both sums are linear, so the result is that of the summed gradient.

Source: Vogels, Karimireddy & Jaggi 2019, "PowerSGD: practical low-rank gradient compression for distributed
optimization".
"""

import itertools
import zlib
from collections.abc import Sequence

import numpy as np

from ...arena import Parameter
from ...device import device_of
from ...errors import UserError
from ...ops.compress import thin_product
from ...ops.powersgd import keep_finite, orthonormalize, project, restart_columns
from .codec import Span
from .linear import LinearBucket, LinearCodec


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
        self._drawn: dict[int, np.ndarray] = {}
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
                project(matrix, self._start(k), left, False)
            else:
                orthonormalize(left)
                project(matrix, left, right, True)

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
                keep_finite(right, self._basis(k))
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
        restart_columns(basis, lambda: self._draws(k))
        return basis

    def _draws(self, k: int) -> np.ndarray:
        """Return random columns; a device, which needs them in every step, keeps them."""
        if k in self._drawn:
            return self._drawn[k]
        rng, basis = np.random.default_rng(zlib.crc32(self._names[k].encode())), self._basis(k)
        drawn = rng.standard_normal(basis.shape).astype(np.float32)
        if isinstance(basis, np.ndarray):
            return drawn
        self._drawn[k] = device_of(basis).from_host(drawn)
        return self._drawn[k]


def _shape(p: Parameter) -> tuple[int, int]:
    """Return a parameter's shape as a matrix."""
    columns = p.shape[-1] if p.shape else 1
    return p.size // max(1, columns), columns
