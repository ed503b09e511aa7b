"""Batch normalization and the ReLU after it."""

import numpy as np

from ...context import Context
from ..activations import ReLU
from ..batchnorm2d import BatchNorm2d
from .base import Fused


class NormReLU(Fused):
    """y = max(norm(x), 0) in the pass that writes the images; backward masks dy while it is read."""

    def __init__(self, norm: BatchNorm2d, relu: ReLU):
        super().__init__(norm, relu)
        self.norm = norm

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return max(norm(x), 0)."""
        return self.norm.forward(x, ctx, relu=True)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write dw and db, return dx."""
        return self.norm.backward(dy, ctx)
