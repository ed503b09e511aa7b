"""Root mean square normalization on a GPU: one launch forward, two backward."""

from typing import Any

import numpy as np

from .. import rmsnorm as ops
from ..gradient import Gradient
from ..workspace import Keep, workspace
from .elements import elements_fit, fitting
from .normalize_rows import backward, covers, fitted, forward


@ops.add_rmsnorm.cuda
def add_rmsnorm(x: Any, residual: Any, w: Any, eps: float, s: Any, y: Any, keep: Keep) -> Any:
    """One launch."""
    given = fitted(x, residual, s, y, keep)
    if given is None:
        return False
    x, residual, s = given
    r = keep("r", (len(x), 1), np.float32)
    forward("rmsnorm", x, (x, residual, w, float(eps), 1 / x.shape[1], s, r, y))
    return s, r


@ops.add_rmsnorm_backward.cuda
def add_rmsnorm_backward(dy: Any, kept: Any, w: Any, dw: Gradient, residual: Any, dx: Any) -> bool:
    """Two launches: dx with partial sums of dw in one pass, and their sum."""
    s, r = kept
    if r.dtype != np.float32 or not covers(s):
        return False
    dy, residual = fitting(dy, s, "gradient"), residual if residual is None else fitting(residual, s, "residual")
    out = dx if elements_fit(dx, s) else workspace(s, "dx", s.shape)
    backward("rmsnorm", s, (dy, s, residual, r, w, 1 / s.shape[1], out), dw, None)
    if out is not dx:
        np.copyto(dx, out)
    return True
