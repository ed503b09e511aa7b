"""Inception-v3 (Szegedy et al. 2015, "Rethinking the inception architecture for computer vision", arXiv 1512.00567).

Table 1 and figures 5 to 7 and 10 of the paper: a stem of 3x3 convolutions, eleven modules whose branches factor large
convolutions into small ones (5x5 into two 3x3, 7x7 into 1x7 and 7x1), the mean over all pixels, and a Linear layer.
Channels are those of torchvision and of the authors' TensorFlow code, which agree.
"""

from ..layers import Dropout, GlobalAvgPool, Layer, Linear, MaxPool2d, Sequential
from .blocks import check_width, conv_relu, scaled
from .inception import Conv, Module, halve, mean, module
from .shapes import image_shape

LEAST, LEAST_SMALL = 75, 7
ROW, COLUMN = (1, 7), (7, 1)  # kernels
CROSS = (Conv(384, (1, 3)), Conv(384, (3, 1)))


def _module_a(pooled: int) -> Module:
    """Return a module of figure 5: 5x5 convolutions as two of 3x3."""
    return (
        (Conv(64, 1),),
        (Conv(48, 1), Conv(64, 5)),
        (Conv(64, 1), Conv(96, 3), Conv(96, 3)),
        (mean, Conv(pooled, 1)),
    )


def _module_b(inner: int) -> Module:
    """Return a module of figure 6: 7x7 convolutions as 1x7 and 7x1."""
    return (
        (Conv(192, 1),),
        (Conv(inner, 1), Conv(inner, ROW), Conv(192, COLUMN)),
        (Conv(inner, 1), Conv(inner, COLUMN), Conv(inner, ROW), Conv(inner, COLUMN), Conv(192, ROW)),
        (mean, Conv(192, 1)),
    )


REDUCTION_A: Module = (
    (Conv(384, 3, 2),),
    (Conv(64, 1), Conv(96, 3), Conv(96, 3, 2)),
    (halve,),
)
"""The module of figure 10, which halves height and width."""
REDUCTION_B: Module = (
    (Conv(192, 1), Conv(320, 3, 2)),
    (Conv(192, 1), Conv(192, ROW), Conv(192, COLUMN), Conv(192, 3, 2)),
    (halve,),
)
MODULE_C: Module = (
    (Conv(320, 1),),
    (Conv(384, 1), CROSS),
    (Conv(448, 1), Conv(384, 3), CROSS),
    (mean, Conv(192, 1)),
)
"""A module of figure 7, two of whose branches end in two convolutions beside each other."""
MODULES = (
    *(_module_a(32), _module_a(64), _module_a(64), REDUCTION_A),
    *(_module_b(128), _module_b(160), _module_b(160), _module_b(192), REDUCTION_B),
    *(MODULE_C, MODULE_C),
)


def inception_v3(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    dropout: float = 0.5,
    width: float = 1.0,
    small_images: bool = False,
) -> Sequential:
    """Inception-v3 without its auxiliary classifier (23,834,568 parameters for 299x299x3 and 1000 classes).

    Parameters
    ----------
    dropout : float
        Before the Linear layer.
    width : float
        Multiplies all channels; results are rounded down.
    small_images : bool
        A stem for images of the size of CIFAR's: one 3x3 convolution with stride 1, and no pool.
    """
    least = LEAST_SMALL if small_images else LEAST
    _, _, channels = image_shape("inception_v3", input_shape, least, small=LEAST_SMALL)
    check_width("inception_v3", width)
    layers, inputs = _stem(channels, width, small_images)
    for branches in MODULES:
        layer, inputs = module(inputs, branches, width=width)
        layers.append(layer)
    return Sequential(*layers, GlobalAvgPool(), Dropout(dropout), Linear(inputs, num_outputs))


def _stem(channels: int, width: float, small_images: bool) -> tuple[list[Layer], int]:
    """Return the layers before the first module, and their number of output channels."""
    a, b, c, d = (scaled(outputs, width) for outputs in (32, 64, 80, 192))
    if small_images:
        return conv_relu(channels, d, 3, 1, 1), d
    layers = [*conv_relu(channels, a, 3, 2), *conv_relu(a, a, 3), *conv_relu(a, b, 3, 1, 1), MaxPool2d(3, 2)]
    return [*layers, *conv_relu(b, c, 1), *conv_relu(c, d, 3), MaxPool2d(3, 2)], d
