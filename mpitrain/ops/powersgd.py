"""Thin factors of a matrix, by one step of subspace iteration (``parallel/compress/powersgd.py``).

Shapes: matrix (n, m); columns, basis (n, r) or (m, r), with a small r.

Source: Vogels, Karimireddy & Jaggi 2019, "PowerSGD: practical low-rank gradient compression for distributed
optimization".
"""

import math
from collections.abc import Callable

import numpy as np

from .dispatch import op

Array = np.ndarray

LEAST_NORM = 1e-6  # of a column, relative to the norm before the others are projected out


@op
def project(matrix: Array, basis: Array, out: Array, transpose: bool) -> None:
    """Write matrix basis to ``out``, or with ``transpose`` the transposed matrix times basis; in fp32."""
    np.matmul(matrix.T if transpose else matrix, basis, out=out)


@op
def orthonormalize(columns: Array) -> None:
    """Make the columns (n, r) orthonormal in place, by Gram and Schmidt's method twice; dependent ones become zero.

    Sums are NumPy's own in double precision, not those of BLAS, whose bits depend on the number of threads.
    """
    done: list[Array] = []
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


@op
def restart_columns(basis: Array, draws: Callable[[], Array]) -> None:
    """Put the columns of ``draws()`` in place of those that are zero; it is called where it is needed."""
    empty = ~basis.any(0)
    if empty.any():
        basis[:, empty] = draws()[:, empty]


@op
def keep_finite(found: Array, basis: Array) -> None:
    """Write ``found`` to basis; zeros, if a number of it is not finite."""
    basis[...] = found if np.isfinite(found).all() else 0
