"""Which ops have a kernel in C (kernels/cpu), and how their arguments meet.

Kernels look at types, shapes and layouts themselves and return False where they do not cover them; then NumPy runs.
"""

from typing import Any

import numpy as np

from .. import native
from . import activations, conv2d
from .product import Buffer

C: Any = native.library


def _conv2d(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, plan: conv2d.Conv2dPlan, buffer: Buffer
) -> bool:
    return plan.native is not None and C.conv2d(x, w, b, y, *plan.native)


def _conv2d_dw(
    x: np.ndarray, dy: np.ndarray, dw: np.ndarray, plan: conv2d.Conv2dPlan, accumulate: bool, buffer: Buffer
) -> bool:
    return plan.native is not None and C.conv2d_dw(x, dy, dw, *plan.native, accumulate)


def _conv2d_dx(dy: np.ndarray, w: np.ndarray, dx: np.ndarray, plan: conv2d.Conv2dPlan, buffer: Buffer) -> bool:
    return plan.native is not None and C.conv2d_dx(dy, w, dx, *plan.native)


if C is not None:
    activations.relu.native(C.relu)
    activations.relu_dx.native(C.relu_dx)
    conv2d.conv2d.native(_conv2d)
    conv2d.conv2d_dw.native(_conv2d_dw)
    conv2d.conv2d_dx.native(_conv2d_dx)
