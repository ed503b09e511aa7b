"""Layer normalization on a GPU: one launch forward, three backward."""

from typing import Any

import numpy as np

from ...device import device_of
from .. import layernorm as ops
from ..gradient import Gradient
from .batchnorm import put_gradients
from .elements import element_kernel, elements_fit
from .launch import run

FORWARD, DX = (element_kernel("layernorm.cu", name=f"layernorm_{name}") for name in ("forward", "dx"))


@ops.layernorm.cuda
def layernorm(x: Any, w: Any, b: Any, eps: float, z: Any, r: Any, y: Any) -> bool:
    """One launch, with a warp for each row."""
    if not elements_fit(x, z, y) or r.dtype != np.float32:
        return False
    run(device_of(x), FORWARD.of(x), 32 * len(x), (x, w, b, float(eps), z, r, y, *x.shape))
    return True


@ops.layernorm_gradients.cuda
def layernorm_gradients(dy: Any, z: Any, dw: Gradient, db: Gradient) -> bool:
    """Two launches: the sums of batch normalization's gradients, about a mean of 0."""
    if not elements_fit(dy, z):
        return False
    put_gradients(dy, z, None, None, dw, db)
    return True


@ops.layernorm_backward.cuda
def layernorm_backward(dy: Any, z: Any, r: Any, w: Any, dw: Gradient, db: Gradient, dx: Any) -> None:
    """Three launches."""
    ops.layernorm_backward.numpy(dy, z, r, w, dw, db, dx)


@ops.layernorm_dx.cuda
def layernorm_dx(dy: Any, z: Any, r: Any, w: Any, dx: Any) -> bool:
    """One launch."""
    if not elements_fit(dy, z, dx) or r.dtype != np.float32:
        return False
    run(device_of(dy), DX.of(dy), 32 * len(dy), (dy, z, r, w, dx, *dy.shape))
    return True
