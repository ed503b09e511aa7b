"""A layer and the ReLU after it, in the pass that writes its result."""

import numpy as np

from ...context import Context
from ..activations import ReLU
from ..batchnorm2d import BatchNorm2d
from ..pool import MaxPool2d
from .base import Fused


class WithReLU(Fused):
    """y = max(f(x), 0), where f takes part in it: ``forward(x, ctx, relu=True)``.

    Batch normalization masks dy where it reads it; max pooling sends no gradient where no pixel is above 0.
    """

    def __init__(self, layer: BatchNorm2d | MaxPool2d, relu: ReLU):
        super().__init__(layer, relu)
        self.layer = layer

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return max(f(x), 0)."""
        return self.layer.forward(x, ctx, relu=True)

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write parameter gradients, return dx."""
        return self.layer.backward(dy, ctx)
