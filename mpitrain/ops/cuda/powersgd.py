"""Thin factors of a matrix on a GPU: products by our kernels, one launch for each of the others."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from ...kernels.launch import launch
from ...kernels.plan import THREADS, Launch
from .. import powersgd as ops
from ..workspace import workspace
from .launch import fits, values
from .matmul import covers, multiply

ORTHONORMALIZE = kernel("orthonormalize.cu")
RESTART, KEEP = (kernel("basis.cu", name=name) for name in ("restart_columns", "keep_finite"))
SUM_THREADS = 1024  # THREADS of orthonormalize.cu


@ops.project.cuda
def project(matrix: Any, basis: Any, out: Any, transpose: bool) -> bool:
    """Multiply in fp32 whatever the precision of the layers is: what a factor loses, the error has to carry."""
    if not covers(matrix, basis, out):
        return False
    device = device_of(out)
    precision, device.precision = device.precision, "fp32"
    try:
        multiply(matrix, basis, out, transpose_a=transpose)
    finally:
        device.precision = precision
    return True


@ops.orthonormalize.cuda
def orthonormalize(columns: Any) -> bool:
    """One launch of one block."""
    if not fits(columns):
        return False
    n, r = columns.shape
    if columns.size:
        done = workspace(columns, "orthonormal columns", (r, n), np.float64)
        plan = Launch((1, 1, 1), (SUM_THREADS, 1, 1))
        launch(device_of(columns), ORTHONORMALIZE, plan, values((columns, done, n, r)))
    return True


@ops.restart_columns.cuda
def restart_columns(basis: Any, draws: Callable[[], Any]) -> bool:
    """One launch, which looks for columns of zeros; the draws are always needed."""
    drawn = draws()
    if not fits(basis, drawn):
        return False
    n, r = basis.shape
    if basis.size:
        plan = Launch((r, 1, 1), (THREADS, 1, 1))
        launch(device_of(basis), RESTART, plan, values((basis, drawn, n, r)))
    return True


@ops.keep_finite.cuda
def keep_finite(found: Any, basis: Any) -> bool:
    """One launch of one block."""
    if not fits(found, basis):
        return False
    if found.size:
        launch(device_of(found), KEEP, Launch((1, 1, 1), (THREADS, 1, 1)), values((found, basis, found.size)))
    return True
