"""The doors of a network: samples come in fp32, activations may be bf16, and outputs are to be fp32 again."""

import numpy as np

from ..context import Context
from ..device import is_bf16
from ..ops.convert import convert
from .base import Layer
from .linear import Linear
from .sequential import Part, Sequential
from .tokens import TiedHead


def as_activations(model: Layer, x: np.ndarray, ctx: Context) -> np.ndarray:
    """Return samples ``x`` for ``model`` in the type of activations: as they are, or rounded in memory of ``ctx``.

    Codes and tokens stay as they are, also codes among numbers, which bf16 could not hold: the layers that take them
    write bf16 themselves.
    """
    if ctx.dtype is ctx.sum_dtype or x.dtype.kind in "iub" or is_bf16(x) or _has_codes(model):
        return x
    y: np.ndarray = ctx.lend(as_activations, "samples", x.shape)
    convert(x, y)
    return y


def output_layer(model: Layer) -> Layer | None:
    """Return the last layer of ``model`` if it is a product, which writes fp32 as fast as bf16 (``outputs_of``)."""
    ends = type(model).forward in (Sequential.forward, Part.forward)
    units = model.units() if isinstance(model, Sequential) and ends else []
    last = units[-1].layer if units else model
    return last if type(last) in (Linear, TiedHead) else None


def _has_codes(model: Layer) -> bool:
    """Return whether a layer of ``model`` takes columns of which some are codes (``ColumnEmbeddings``)."""
    return any(getattr(layer, "only_codes", None) is not None for layer in model.layers())
