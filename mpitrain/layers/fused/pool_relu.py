"""Max pooling and the ReLU after it."""

import numpy as np

from ...context import Context
from ..activations import ReLU
from ..pool import MaxPool2d
from .base import Fused


class PoolReLU(Fused):
    """y = max(pool(x), 0): where no pixel is above 0, no pixel gets dy."""

    def __init__(self, pool: MaxPool2d, relu: ReLU):
        super().__init__(pool, relu)
        self.pool = pool

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return max(pool(x), 0)."""
        return self.pool.forward(x, ctx, relu=True)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Return dx."""
        return self.pool.backward(dy, ctx)
