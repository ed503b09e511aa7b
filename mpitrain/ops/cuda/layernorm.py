"""Layer normalization on a GPU: one launch forward, two backward. Only the rows, their means and r are kept."""

from typing import Any

import numpy as np

from .. import layernorm as ops
from ..gradient import Gradient
from ..workspace import Keep
from .elements import fitting
from .normalize_rows import backward, covers, fitted, forward


@ops.add_layernorm.cuda
def add_layernorm(x: Any, residual: Any, w: Any, b: Any, eps: float, s: Any, y: Any, keep: Keep) -> Any:
    """One launch; returns (s, mean and r of each row)."""
    given = fitted(x, residual, s, y, keep)
    if given is None:
        return False
    x, residual, s = given
    statistics = keep("statistics", (2, len(x)), np.float32)
    forward("layernorm", x, (x, residual, w, b, float(eps), 1 / x.shape[1], s, *statistics, y))
    return s, statistics


@ops.add_layernorm_backward.cuda
def add_layernorm_backward(dy: Any, kept: Any, w: Any, dw: Gradient, db: Gradient, residual: Any, dx: Any) -> bool:
    """Two launches: dx with partial sums of dw and db in one pass, and their sum."""
    s, statistics = kept
    if statistics.shape != (2, len(dy)) or not covers(s, dx):
        return False  # kept by the NumPy function: z, and r (M, 1)
    dy, residual = fitting(dy, dx, "gradient"), residual if residual is None else fitting(residual, dx, "residual")
    backward("layernorm", s, (dy, s, residual, *statistics, w, 1 / s.shape[1], dx), dw, db)
    return True
