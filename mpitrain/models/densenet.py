"""Densely connected networks (Huang et al. 2016, "Densely connected convolutional networks", arXiv 1608.06993).

DenseNet-BC, table 1: a stem of a 7x7 convolution and a max pool, blocks of layers that see the results of all layers
before them in the block, between blocks a 1x1 convolution and a pool, at the end the mean over all pixels and a Linear
layer.
"""

import math

from ..errors import UserError
from ..layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    DenseBlock,
    Dropout,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    init,
)
from .shapes import image_shape

BOTTLENECK = 4  # output channels of a layer's 1x1 convolution, in those of its 3x3


def densenet(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    blocks: tuple[int, ...] = (6, 12, 24, 16),
    growth: int = 32,
    compression: float = 0.5,
    dropout: float = 0.0,
    small_images: bool = False,
) -> Sequential:
    """A densely connected network (densenet121: 7,978,856 parameters for 224x224x3 and 1000 classes).

    Parameters
    ----------
    blocks : tuple of int
        Number of layers of each block.
    growth : int
        Channels that each layer adds (the paper's k); the stem has twice as many.
    compression : float
        Output channels of a convolution between blocks, as a part of its inputs (the paper's theta).
    dropout : float
        At the end of each layer (the paper has 0.2 where images are not augmented).
    small_images : bool
        A stem for images of the size of CIFAR's: a 3x3 convolution with stride 1, and no pool. The paper's network of
        100 layers for these is ``densenet:blocks=16+16+16,growth=12,small_images=true`` (769,162 parameters).
    """
    if not blocks or min(*blocks, growth) < 1 or not 0 < compression <= 1:
        raise UserError(
            "densenet needs blocks of at least one layer, a growth of at least 1, and a compression in (0, 1]"
        )
    small = 2 ** (len(blocks) - 1)
    least = small if small_images else 4 * small - 3
    _, _, inputs = image_shape("densenet", input_shape, least, small=small)
    channels = 2 * growth
    layers: list[Layer] = [_conv(inputs, channels, 3 if small_images else 7, 1 if small_images else 2)]
    if not small_images:
        layers += [BatchNorm2d(channels), ReLU(), MaxPool2d(3, 2, 1)]
    for number, count in enumerate(blocks):
        members = [_layer(channels + i * growth, growth, dropout) for i in range(count)]
        layers.append(DenseBlock(*members, growth=growth))
        channels += count * growth
        layers += [BatchNorm2d(channels), ReLU()]
        if number < len(blocks) - 1:
            fewer = max(1, int(channels * compression))
            layers += [_conv(channels, fewer, 1), AvgPool2d(2)]
            channels = fewer
    return Sequential(*layers, GlobalAvgPool(), Linear(channels, num_outputs))


def _layer(inputs: int, growth: int, dropout: float) -> Sequential:
    """Return a layer of a block, which gives ``growth`` channels."""
    inner = BOTTLENECK * growth
    return Sequential(
        *(BatchNorm2d(inputs), ReLU(), _conv(inputs, inner, 1)),
        *(BatchNorm2d(inner), ReLU(), _conv(inner, growth, 3)),
        *([Dropout(dropout)] if dropout else []),
    )


def _conv(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> Conv2d:
    conv = Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False)
    conv.weight.init = init.he(math.prod(conv.weight.shape[:-1]))
    return conv
