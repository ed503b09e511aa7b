"""Rows of layers that several image models are made of."""

import math

from ..errors import UserError
from ..layers import BatchNorm2d, Conv2d, Layer, Linear, ReLU, init
from ..ops.window import Pair

EPS = 1e-3  # of batch norm in the networks of Google


def conv_relu(
    inputs: int,
    outputs: int,
    kernel_size: int | Pair,
    stride: int = 1,
    padding: int | Pair = 0,
    *,
    batch_norm: bool = True,
    bias: bool | None = None,
    eps: float = EPS,
    groups: int = 1,
) -> list[Layer]:
    """Return a convolution, batch norm if wanted, and ReLU, with the initial values of He et al. 2015.

    Parameters
    ----------
    bias : bool, optional
        By default, where there is no batch norm, which has one.
    """
    has_bias = not batch_norm if bias is None else bias
    conv = Conv2d(inputs, outputs, kernel_size, stride, padding, groups=groups, bias=has_bias)
    conv.weight.init = init.he(math.prod(conv.weight.shape[:-1]))
    return [conv, *([BatchNorm2d(outputs, eps=eps)] if batch_norm else []), ReLU()]


def linear_relu(inputs: int, outputs: int) -> list[Layer]:
    """Return a Linear layer and ReLU, with the initial values of He et al. 2015."""
    linear = Linear(inputs, outputs)
    linear.weight.init = init.he(inputs)
    return [linear, ReLU()]


def scaled(channels: int, width: float) -> int:
    """Return ``channels`` times ``width``, rounded down, and at least 1."""
    return max(1, int(channels * width))


def check_width(model: str, width: float) -> None:
    """Raise a UserError unless ``width``, which multiplies channels, lies in (0, 100]."""
    if not 0 < width <= 100:
        raise UserError(f"the width of {model} multiplies its channels: it must lie between 0 and 100, not {width}")
