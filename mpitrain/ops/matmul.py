"""Matrix products in NumPy, cut into pieces that run at full speed.

OpenBLAS copies ("packs") both factors of a product before it multiplies, which for tall and narrow products takes as
long as the multiplication. Below 100^3 multiply-adds it works in place (its small-matrix path on AVX-512 machines).
So a product of many rows is passed as a stack of products of fewer rows. Measured on one core of an AMD EPYC
(Zen 4), (50176, 75) x (75, 6): 36 GFLOP/s whole and 59 cut; (1024, 288) x (288, 32): 92 and 114; transposed and
summed, 22 and 82. With several BLAS threads whole products are better: only they are shared between threads.
"""

from functools import lru_cache

import numpy as np

from ..device import CPU
from .workspace import workspace

SMALL = 100**3  # multiply-adds


def matmul(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Write a b to ``out``: a (..., M, K), b (..., K, N), out (..., M, N)."""
    rows, depth, width = *a.shape[-2:], b.shape[-1]
    piece = rows_of_a_piece(rows, depth * width, least=4)
    if piece == rows or CPU.blas_threads > 1:
        np.matmul(a, b, out=out)
        return
    b = np.ascontiguousarray(b)[..., None, :, :]
    stack = rows // piece, piece
    cut_a, cut_out = a.reshape(*a.shape[:-2], *stack, depth), out.reshape(*out.shape[:-2], *stack, width)
    np.matmul(cut_a, b, out=cut_out)


def matmul_transpose_a(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Write a^T b to ``out``: a (..., M, K), b (..., M, N), out (..., K, N).

    M is the long side and the one that is cut; the results of the pieces are then summed, which pays from 48 rows.
    """
    rows, depth, width = *a.shape[-2:], b.shape[-1]
    piece = rows_of_a_piece(rows, depth * width, least=48)
    if piece == rows or CPU.blas_threads > 1:
        np.matmul(a.swapaxes(-1, -2), b, out=out)
        return
    stack = rows // piece, piece
    cut_a, cut_b = a.reshape(*a.shape[:-2], *stack, depth), b.reshape(*b.shape[:-2], *stack, width)
    parts = workspace(out, "parts of a product", (*a.shape[:-2], rows // piece, depth, width))
    np.matmul(cut_a.swapaxes(-1, -2), cut_b, out=parts)
    np.add.reduce(parts, axis=-3, out=out)


@lru_cache(maxsize=1024)
def rows_of_a_piece(rows: int, work: int, least: int) -> int:
    """Return the largest divisor of ``rows`` for small products at ``work`` multiply-adds per row, or ``rows``."""
    most = SMALL // max(1, work)
    if rows <= most or most < least:
        return rows
    divisors = (piece for piece in range(most, least - 1, -1) if rows % piece == 0)
    return next(divisors, rows)
