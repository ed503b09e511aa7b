"""Sums of a residual block in the passes that write their terms.

The end of the block is y = f(z + residual), computed by the layer that writes z. ``Residual`` hands the other term over
to the layer that ends its body (``Layer.ending``) right before the forward of that layer, which takes it there.
Backward, the layer that begins the body (``Layer.beginning``) adds the gradient of the shortcut to its dx.
"""

from typing import NamedTuple

import numpy as np

from ..context import Context
from .base import Layer


class Tail(NamedTuple):
    """The rest of a residual block, after a result z: y = z + residual, or with ``relu`` the maximum of that and 0."""

    residual: np.ndarray
    relu: bool


def hand_over(layer: Layer, tail: Tail, ctx: Context) -> None:
    """Leave ``tail`` for the next forward of ``layer``."""
    ctx[layer, "tail"] = tail


def take_over(layer: Layer, ctx: Context) -> Tail | None:
    """Return the tail that was left for this forward of ``layer``; None where it is no end of a block."""
    tail: Tail | None = ctx.pop((layer, "tail"), None)
    return tail


def hand_over_gradient(layer: Layer, added: np.ndarray, ctx: Context) -> None:
    """Leave what the next backward of ``layer`` adds to its dx. It may be written until then."""
    ctx[layer, "added"] = added


def take_gradient(layer: Layer, ctx: Context) -> np.ndarray | None:
    """Return what was left for this backward of ``layer``; None where it begins no block."""
    added: np.ndarray | None = ctx.pop((layer, "added"), None)
    return added
