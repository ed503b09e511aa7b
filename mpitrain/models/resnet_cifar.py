"""Residual networks for small images (He et al. 2015, "Deep residual learning for image recognition", section 4.2).

Depth 6n + 2: a 3x3 convolution, three stages of n blocks with 16, 32 and 64 channels, and a Linear layer.
"""

from ..layers import BatchNorm2d, GlobalAvgPool, Layer, Linear, ReLU, Sequential
from .resnet import basic_block, convolution
from .shapes import image_shape

STAGES = (16, 32, 64)


def resnet_cifar(
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
    layers: list[Layer] = [convolution(channels, STAGES[0] * width, 3, 1), BatchNorm2d(STAGES[0] * width), ReLU()]
    inputs = STAGES[0] * width
    for stage, base in enumerate(STAGES):
        for block in range((depth - 2) // 6):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(basic_block(inputs, base * width, stride, zero_init))
            inputs = base * width
    return Sequential(*layers, GlobalAvgPool(), Linear(inputs, num_outputs))
