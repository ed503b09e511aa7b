"""A convolution that gives the moments of its result to the batch normalization after it.

Its kernel on a GPU has the result in registers; the pass that normalization would make over it is saved.
"""

import numpy as np

from ...context import Context
from ..base import Layer
from ..batchnorm2d import BatchNorm2d
from ..conv2d import Conv2d
from .base import Fused


class WithMoments(Fused):
    """y = conv(x), with the moments of y for ``norm`` in training, where they cost no pass.

    The normalization runs as a layer of its own, perhaps with a ReLU.
    """

    def __init__(self, conv: Conv2d, norm: BatchNorm2d):
        super().__init__(conv)
        self.conv, self.norm = conv, norm

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return conv(x)."""
        if not ctx.training:
            return self.conv.forward(x, ctx)
        y, moments = self.conv.forward_moments(x, ctx)
        self.norm.hand_over(moments, ctx)
        return y

    def beginning(self) -> Layer | None:
        """Return the convolution."""
        return self.conv.beginning()

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write the gradients of the convolution, return dx."""
        return self.conv.backward(dy, ctx)
