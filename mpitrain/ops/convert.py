"""Conversion between types of elements: samples come in fp32, and activations may be bf16."""

import numpy as np

from ..context import Context
from ..device import is_bf16
from .dispatch import op


@op
def convert(x: np.ndarray, y: np.ndarray) -> None:
    """Write y = x, rounded to nearest where the type of y has fewer digits. Both of one shape, C-contiguous."""
    np.copyto(y, x, casting="same_kind")


def as_activations(x: np.ndarray, ctx: Context) -> np.ndarray:
    """Return samples ``x`` in the type of activations: as they are, or rounded to bf16 in memory of ``ctx``.

    Codes and tokens stay integers.
    """
    if ctx.dtype is ctx.sum_dtype or x.dtype.kind in "iub" or is_bf16(x):
        return x
    y: np.ndarray = ctx.lend(as_activations, "samples", x.shape)
    convert(x, y)
    return y
