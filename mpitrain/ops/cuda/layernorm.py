"""Layer normalization on a GPU: one launch forward, three backward."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from .. import layernorm as ops
from ..gradient import Gradient
from .batchnorm import put_gradients
from .launch import run

FORWARD, DX = kernel("layernorm.cu", name="layernorm_forward"), kernel("layernorm.cu", name="layernorm_dx")


@ops.layernorm.cuda
def layernorm(x: Any, w: Any, b: Any, eps: float, z: Any, r: Any, y: Any) -> bool:
    """One launch, with a warp for each row."""
    if x.dtype != np.float32:
        return False
    run(device_of(x), FORWARD, 32 * len(x), (x, w, b, float(eps), z, r, y, *x.shape))
    return True


@ops.layernorm_gradients.cuda
def layernorm_gradients(dy: Any, z: Any, dw: Gradient, db: Gradient) -> bool:
    """Two launches: the sums of batch normalization's gradients, about a mean of 0."""
    if dy.dtype != np.float32:
        return False
    put_gradients(dy, z, None, None, dw, db)
    return True


@ops.layernorm_dx.cuda
def layernorm_dx(dy: Any, z: Any, r: Any, w: Any, dx: Any) -> bool:
    """One launch."""
    if dy.dtype != np.float32:
        return False
    run(device_of(dy), DX, 32 * len(dy), (dy, z, r, w, dx, *dy.shape))
    return True
