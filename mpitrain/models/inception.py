"""Inception modules: rows of convolutions and pools beside each other, written as tables of their output channels."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..layers import AvgPool2d, Concat, Layer, MaxPool2d, Sequential
from ..ops.window import Pair, pair
from .blocks import conv_relu, scaled


class Conv(NamedTuple):
    """A convolution; with stride 1 it is padded so that it keeps the size of images, otherwise not padded."""

    outputs: int
    kernel_size: int | Pair
    stride: int = 1


def mean() -> Layer:
    """Return a pool that keeps the size: means over 3x3 pixels, of which padding counts as 0."""
    return AvgPool2d(3, 1, 1)


def largest() -> Layer:
    """Return a pool that keeps the size: maxima over 3x3 pixels."""
    return MaxPool2d(3, 1, 1)


def halve() -> Layer:
    """Return a pool that halves height and width: maxima over 3x3 pixels."""
    return MaxPool2d(3, 2)


Item = Conv | Callable[[], Layer] | Sequence[Conv]
"""An element of a branch: a convolution, a pool, or several convolutions beside each other, which end the branch."""
Module = Sequence[Sequence[Item]]


def module(inputs: int, branches: Module, *, width: float = 1.0, batch_norm: bool = True) -> tuple[Concat, int]:
    """Return the layer that consists of ``branches``, and its number of output channels.

    Parameters
    ----------
    inputs : int
        Channels of x.
    branches : sequence of sequences of Item
    width : float
        Multiplies the channels of all convolutions.
    batch_norm : bool
    """
    made = [_branch(inputs, items, width, batch_norm) for items in branches]
    return Concat(*(layer for layer, _ in made)), sum(outputs for _, outputs in made)


def row(inputs: int, items: Sequence[Item], width: float, batch_norm: bool) -> tuple[list[Layer], int]:
    """Return the layers of ``items`` one after the other, and the number of output channels of the last."""
    layers: list[Layer] = []
    for item in items:
        if isinstance(item, Conv):
            outputs = scaled(item.outputs, width)
            kernel = pair(item.kernel_size, "kernel_size")
            padding = (kernel[0] // 2, kernel[1] // 2) if item.stride == 1 else 0
            layers += conv_relu(inputs, outputs, kernel, item.stride, padding, batch_norm=batch_norm)
            inputs = outputs
        elif callable(item):
            layers.append(item())
        else:
            layer, inputs = module(inputs, [[each] for each in item], width=width, batch_norm=batch_norm)
            layers.append(layer)
    return layers, inputs


def _branch(inputs: int, items: Sequence[Item], width: float, batch_norm: bool) -> tuple[Layer, int]:
    layers, outputs = row(inputs, items, width, batch_norm)
    return layers[0] if len(layers) == 1 else Sequential(*layers), outputs
