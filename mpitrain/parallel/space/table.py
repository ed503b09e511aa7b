"""The layers that work on rows of images, and those they become: one rule for each type.

Only layers of exactly these types are known: a subclass may compute something else. Any other layer is correct behind
a turn to samples.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from ...comm.group import Group
from ...layers import (
    GELU,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Dropout,
    GlobalAvgPool,
    Layer,
    LayerNorm,
    Linear,
    LoRALinear,
    MaxPool2d,
    ReLU,
    RMSNorm,
    Sigmoid,
    SiLU,
    SwiGLU,
    Tanh,
)
from ..moves import AllGather, Copy, Gather, ReduceScatter, Split, Sum
from ..moves.move import slices_of
from ..tensor.linear import Bias
from .dropout import RowsDropout
from .geometry import Size
from .samples import divide_global_pool
from .transposed import divide_transposed
from .windows import divide_window


class Samples(NamedTuple):
    """The state behind a layer that leads from rows to whole samples."""


SAMPLES = Samples()
After = Size | Samples | None
"""Size of the whole images behind a layer; or samples; None if the layer does not work on rows."""


class Rule(NamedTuple):
    """A type of layers.

    Attributes
    ----------
    after : callable(layer, size) -> After
        The state behind the layer, given images of ``size`` in front of it.
    divide : callable(layer, group, size) -> Layer
        The layer for this rank's rows.
    """

    after: Callable[[Any, Size], After]
    divide: Callable[[Any, Group, Size], Layer]


def _same(layer: Layer, size: Size) -> After:
    return size


def _windows(layer: Any, size: Size) -> After:
    if isinstance(layer, AvgPool2d) and not layer.count_include_pad:
        return None  # which pixels count depends on the place in the image
    return Size(*layer.window.output(size))


def _along_channels(layer: Any, size: Size) -> After:
    return size if layer.dim in (-1, 3) else None


def _after_dropout(layer: Dropout, size: Size) -> After:
    return size if layer.place is None else None  # a part of the channels draws its part of the mask itself


def _dropout(layer: Dropout, group: Group, size: Size) -> Layer:
    return RowsDropout(layer, slices_of(size.height, group.size)[group.rank], size.height)


def _as_it_is(layer: Layer, group: Group, size: Size) -> Layer:
    return layer


PIXELWISE = (
    *(ReLU, Tanh, Sigmoid, SiLU, GELU, SwiGLU),
    *(BatchNorm2d, LayerNorm, RMSNorm, Linear, LoRALinear, Bias, Copy, Sum),
)
RULES: dict[type[Layer], Rule] = {
    **dict.fromkeys(PIXELWISE, Rule(_same, _as_it_is)),
    **dict.fromkeys((Split, Gather, ReduceScatter, AllGather), Rule(_along_channels, _as_it_is)),
    **dict.fromkeys((Conv2d, MaxPool2d, AvgPool2d), Rule(_windows, divide_window)),
    ConvTranspose2d: Rule(lambda layer, size: Size(*layer.output(size)), divide_transposed),
    Dropout: Rule(_after_dropout, _dropout),
    GlobalAvgPool: Rule(
        lambda layer, size: SAMPLES, lambda layer, group, size: divide_global_pool(layer, group, size.height)
    ),
}
