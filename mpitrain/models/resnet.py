"""Residual networks (He et al. 2015, "Deep residual learning for image recognition", arXiv 1512.03385, table 1).

A stem of a 7x7 convolution and a max pool, stages of blocks, the mean over all pixels, and a Linear layer. All stages
but the first begin with stride 2.
"""

import math
from collections.abc import Sequence
from typing import Any

from ..errors import UserError
from ..layers import BatchNorm2d, Conv2d, GlobalAvgPool, Layer, Linear, MaxPool2d, ReLU, Residual, Sequential, init
from .shapes import image_shape

REDUCTION = 4  # outputs of a bottleneck, in channels of its 3x3 convolution
BASIC: dict[str, Any] = {"widths": (64, 128, 256, 512), "bottleneck": False, "stem": 64}
BOTTLENECK: dict[str, Any] = {"widths": (256, 512, 1024, 2048), "bottleneck": True, "stem": 64}
SIZES: dict[str, dict[str, Any]] = {
    "resnet18": {"blocks": (2, 2, 2, 2), **BASIC},
    "resnet34": {"blocks": (3, 4, 6, 3), **BASIC},
    "resnet50": {"blocks": (3, 4, 6, 3), **BOTTLENECK},
    "resnet101": {"blocks": (3, 4, 23, 3), **BOTTLENECK},
    "resnet152": {"blocks": (3, 8, 36, 3), **BOTTLENECK},
}


def resnet(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    blocks: tuple[int, ...] = (3, 4, 6, 3),
    widths: tuple[int, ...] = (256, 512, 1024, 2048),
    bottleneck: bool = True,
    stem: int = 64,
    small_images: bool = False,
    halve_first: bool = False,
    stride_in_1x1: bool = False,
    zero_init: bool = False,
) -> Sequential:
    """A residual network for images of the size of ImageNet's (resnet50: 25,557,032 parameters for 1000 classes).

    Parameters
    ----------
    blocks : tuple of int
        Number of blocks of each stage.
    widths : tuple of int
        Output channels of each stage.
    bottleneck : bool
        Blocks of 1x1, 3x3 and 1x1 convolutions, the first two with a quarter of the channels; otherwise of two 3x3.
    stem : int
        Output channels of the stem.
    small_images : bool
        A stem for images of the size of CIFAR's: a 3x3 convolution with stride 1, and no pool.
    halve_first : bool
        Stride 2 in the first stage, too.
    stride_in_1x1 : bool
        Bottlenecks have their stride in the first 1x1 convolution, as in the paper; otherwise in the 3x3 ("v1.5",
        which torchvision and Hugging Face have).
    zero_init : bool
        Start the last batch norm of each block at scale 0, so that each block starts as its shortcut
        (Goyal et al. 2017, arXiv 1706.02677).
    """
    _, _, channels = image_shape("resnet", input_shape, least=1)
    _check(blocks, widths, bottleneck, stem)
    first = convolution(channels, stem, 3, 1) if small_images else convolution(channels, stem, 7, 2)
    layers: list[Layer] = [first, BatchNorm2d(stem), ReLU()]
    if not small_images:
        layers.append(MaxPool2d(3, stride=2, padding=1))
    inputs, stride = stem, 2 if halve_first else 1
    for count, width in zip(blocks, widths, strict=True):
        for _ in range(count):
            layers.append(_block(inputs, width, stride, bottleneck, stride_in_1x1, zero_init))
            inputs, stride = width, 1
        stride = 2
    return Sequential(*layers, GlobalAvgPool(), Linear(inputs, num_outputs))


def _check(blocks: Sequence[int], widths: Sequence[int], bottleneck: bool, stem: int) -> None:
    if not blocks or len(blocks) != len(widths):
        raise UserError(f"resnet needs one width a stage: blocks has {len(blocks)} stages, and widths {len(widths)}")
    if min(*blocks, *widths, stem) < 1:
        raise UserError("the numbers of blocks, widths and stem of resnet must be at least 1")
    if bottleneck and any(width % REDUCTION for width in widths):
        raise UserError(f"the widths of bottlenecks must be multiples of {REDUCTION}, not {'+'.join(map(str, widths))}")


def _block(inputs: int, outputs: int, stride: int, bottleneck: bool, stride_in_1x1: bool, zero_init: bool) -> Residual:
    """Return a block with its activation."""
    if not bottleneck:
        return basic_block(inputs, outputs, stride, zero_init)
    inner = outputs // REDUCTION
    first, second = (stride, 1) if stride_in_1x1 else (1, stride)
    body = [
        *(convolution(inputs, inner, 1, first), BatchNorm2d(inner), ReLU()),
        *(convolution(inner, inner, 3, second), BatchNorm2d(inner), ReLU()),
        *(convolution(inner, outputs, 1, 1), last_norm(outputs, zero_init)),
    ]
    return Residual(Sequential(*body), shortcut(inputs, outputs, stride), activation=ReLU())


def basic_block(inputs: int, outputs: int, stride: int, zero_init: bool) -> Residual:
    """Return a block of two 3x3 convolutions with its activation."""
    body = [
        *(convolution(inputs, outputs, 3, stride), BatchNorm2d(outputs), ReLU()),
        *(convolution(outputs, outputs, 3, 1), last_norm(outputs, zero_init)),
    ]
    return Residual(Sequential(*body), shortcut(inputs, outputs, stride), activation=ReLU())


def shortcut(inputs: int, outputs: int, stride: int) -> Sequential | None:
    """Return a 1x1 convolution where the shape changes (option B of the paper), otherwise None: the identity."""
    same = stride == 1 and inputs == outputs
    return None if same else Sequential(convolution(inputs, outputs, 1, stride), BatchNorm2d(outputs))


def last_norm(channels: int, zero_init: bool) -> BatchNorm2d:
    """Return the norm before a sum."""
    norm = BatchNorm2d(channels)
    if zero_init:
        norm.weight.init = init.zeros
    return norm


def convolution(inputs: int, outputs: int, kernel_size: int, stride: int) -> Conv2d:
    """Return a convolution without bias (batch norm has one) with the initial values of He et al. 2015."""
    conv = Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False)
    conv.weight.init = init.he(math.prod(conv.weight.shape[:-1]))
    return conv
