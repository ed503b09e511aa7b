"""Moments of slabs of rows, merged to those of parts by batchnorm_merge_slabs."""

import numpy as np

from tests.kernels import cpu
from tests.kernels.arrays import Elements, i32, launch


def merge_slabs(kernels: cpu.Kernels, rows: int, channels: int, slab: int, each: int) -> float:
    """Return the largest error of parts of ``each`` slabs, relative to numbers near 1000 and their spread of 3."""
    vectors = Elements(0)
    x = 1000 + 3 * np.random.default_rng(0).standard_normal((rows, channels))
    slabs, moments = of_parts(x, slab).astype(np.float32), vectors.room(-(-rows // (slab * each)), 2, channels)
    sizes = map(i32, (rows, channels, slab, each))
    grid = -(-channels // (32 * (8 if kernels.macro("ELEMENT_BF16") else 4))), len(moments)
    launch(kernels, "batchnorm_merge_slabs", slabs, moments, *sizes, grid=grid)
    vectors.check_guards()
    return float(np.max(np.abs(moments - of_parts(x, slab * each)) / [[[1000], [9.0 * slab * each]]]))


def of_parts(x: np.ndarray, rows: int) -> np.ndarray:
    """Return (parts, 2, channels): mean and squared differences of each part."""
    parts = [x[first : first + rows] for first in range(0, len(x), rows)]
    return np.array([[part.mean(axis=0), part.var(axis=0) * len(part)] for part in parts])
