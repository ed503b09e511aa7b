"""Reductions: column sums, sums of squares, and the sum of several ranks' arrays.

Shapes: x (N, O) for column sums, (n,) otherwise. Any N and n, also 0.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..device import device_of
from .dispatch import op
from .workspace import workspace

SQUARES_BLOCK = 65536  # elements whose squares are summed in their own precision


class Sources:
    """Arrays (n,) of one dtype to be summed in this order: often the gradients of several ranks.

    Attributes
    ----------
    arrays : tuple of array
    addresses : int64 array
        Where they begin in host memory, for kernels in C that take several; empty on a device.
    """

    def __init__(self, arrays: Sequence[np.ndarray]):
        self.arrays = tuple(arrays)
        self.addresses = np.array([a.ctypes.data for a in self.arrays if isinstance(a, np.ndarray)], np.int64)

    def __len__(self) -> int:
        return len(self.arrays)


@op
def column_sum(x: np.ndarray, out: np.ndarray, accumulate: bool) -> None:
    """Write (or add) the sum of ``x`` over rows to ``out`` (O,): the gradient of a bias."""
    ones = _ones(len(x), x.dtype)
    if accumulate:
        np.add(out, ones @ x, out=out)
    else:
        np.matmul(ones, x, out=out)


@op
def sum_of_squares(x: np.ndarray) -> float:
    """Return the sum of x^2: blocks in their own precision, their sum in double. Waits for a GPU."""
    if not isinstance(x, np.ndarray):
        squares = np.multiply(x, x)
        return float(device_of(x).to_host(squares.sum(dtype=np.float64)))
    blocks = (x[start : start + SQUARES_BLOCK] for start in range(0, len(x), SQUARES_BLOCK))
    return math.fsum(float(np.dot(block, block)) for block in blocks)


@op
def sum_of_squares_in_parts(x: np.ndarray, parts: np.ndarray) -> None:
    """Write to ``parts`` (p,) numbers whose sum is the sum of x^2; each path divides x among them as it likes."""
    parts.fill(0)
    parts[0] = np.multiply(x, x).sum()


@op
def sum_sources(target: np.ndarray, sources: Sources) -> float:
    """Write the sum of two or more sources to ``target``, which may be one of them; return its sum of squares."""
    first, second, *rest = sources.arrays
    total = np.add(first, second, out=workspace(target, "total", target.shape))
    for source in rest:
        np.add(total, source, out=total)
    target[...] = total
    return float(np.dot(total, total))


@op
def sum_over_ranks(x: np.ndarray, y: np.ndarray) -> None:
    """Write the sum of the rows of x (P, n), the arrays of P ranks, to y (n,), which is of their type.

    Numbers in bf16 are added up in fp32, in the order of the ranks, and the sum is rounded once.
    """
    np.add.reduce(x, axis=0, out=y)


@lru_cache(maxsize=64)
def _ones(count: int, dtype: np.dtype) -> np.ndarray:
    return np.ones(count, dtype)
