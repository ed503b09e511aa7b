"""Flattening of images to rows."""

import math

import numpy as np

from ..context import Context
from .base import Layer


class Flatten(Layer):
    """y = x with all dimensions after the first as one: (N, H, W, C) -> (N, H W C), a view."""

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the view."""
        ctx[self] = x.shape
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dy in the shape of x."""
        return dy.reshape(ctx[self])
