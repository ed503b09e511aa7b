"""Errors of codecs that work on whole gradients (``parallel/compress/codec.py``), where the host does not read them.

Shapes: x, error (n,), error (0,) for none; bad (1,): 0, or NaN once a number was not finite; message (n,);
weight (1,), factors (3,). Factors are numbers, or arrays () of the device.

Source: Karimireddy et al. 2019, "Error feedback fixes SignSGD and other gradient compression schemes".
"""

from typing import Any

import numpy as np

from .dispatch import op

Array = np.ndarray


@op
def add_error(x: Array, error: Array, inject: Any, bad: Array | None) -> None:
    """Add inject error to x; set ``bad``, if it is given, where x is not finite then."""
    if error.size:
        x += np.float32(inject) * error
    if bad is not None and not np.isfinite(x).all():
        bad.fill(np.nan)


@op
def keep_rest(x: Array, error: Array, keep: Any, inverse: Any, bad: Array) -> None:
    """Write keep error + inverse x to error; without x, if it is bad, and without elements that are not finite."""
    rest = np.where(np.isfinite(x + bad), x, 0)
    error[...] = np.float32(keep) * error + np.float32(inverse) * rest


@op
def spoil(message: Array, bad: Array) -> None:
    """Fill a message with NaN if ``bad`` is set."""
    if not np.isfinite(bad).all():
        message.fill(np.nan)


@op
def step_factors(weight: Array, factors: Array) -> None:
    """Write the factors of errors in a step of this weight: inject, keep, inverse."""
    w = float(weight[0])
    factors[...] = (w, 0, 1 / w) if w > 0 else (w, 1, 0)
