"""The gradient of a small parameter, computed whole before it is stored."""

import numpy as np

from ..arena import Parameter


def put_gradient(p: Parameter, gradient: np.ndarray) -> None:
    """Store ``gradient`` in ``p.grad``, or add it to what this step has put there already; then it is written."""
    if p.accumulate:
        p.grad += gradient
    else:
        p.grad[...] = gradient
    p.written()
