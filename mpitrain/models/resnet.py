"""Residual networks for small images (He et al. 2015, "Deep residual learning for image recognition", section 4.2).

Depth 6n + 2: a 3x3 convolution, three stages of n blocks with 16, 32 and 64 channels, and a Linear layer.
"""

import math

from ..layers import BatchNorm2d, Conv2d, GlobalAvgPool, Layer, Linear, ReLU, Residual, Sequential, init
from .shapes import image_shape

STAGES = (16, 32, 64)


def resnet(
    depth: int, input_shape: tuple[int, ...], num_outputs: int, *, width: int = 1, zero_init: bool = False
) -> Sequential:
    """A residual network of depth 8, 20, 32, 56 ... (20: 272,474 parameters for 32x32x3 and 10 classes).

    Parameters
    ----------
    width : int
        Multiplies the channels of the three stages (Zagoruyko and Komodakis 2016, arXiv 1605.07146).
    zero_init : bool
        Start the last batch norm of each block at scale 0, so that each block starts as its shortcut
        (Goyal et al. 2017, arXiv 1706.02677).
    """
    _, _, channels = image_shape(f"resnet{depth}", input_shape, least=4)
    layers: list[Layer] = [_conv(channels, STAGES[0] * width, 3, 1), BatchNorm2d(STAGES[0] * width), ReLU()]
    inputs = STAGES[0] * width
    for stage, base in enumerate(STAGES):
        for block in range((depth - 2) // 6):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(_block(inputs, base * width, stride, zero_init))
            inputs = base * width
    return Sequential(*layers, GlobalAvgPool(), Linear(inputs, num_outputs))


def _block(inputs: int, outputs: int, stride: int, zero_init: bool) -> Residual:
    """Return a basic block; where the shape changes, a 1x1 convolution is its shortcut (option B of the paper)."""
    last_norm = BatchNorm2d(outputs)
    if zero_init:
        last_norm.weight.init = init.zeros
    body = Sequential(
        _conv(inputs, outputs, 3, stride), BatchNorm2d(outputs), ReLU(), _conv(outputs, outputs, 3, 1), last_norm
    )
    same = stride == 1 and inputs == outputs
    shortcut = None if same else Sequential(_conv(inputs, outputs, 1, stride), BatchNorm2d(outputs))
    return Residual(body, shortcut, activation=ReLU())


def _conv(inputs: int, outputs: int, kernel_size: int, stride: int) -> Conv2d:
    """Return a convolution without bias (batch norm has one) with the initial values of He et al. 2015."""
    conv = Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False)
    conv.weight.init = init.he(math.prod(conv.weight.shape[:-1]))
    return conv
