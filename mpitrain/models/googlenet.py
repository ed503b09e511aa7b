"""GoogLeNet (Szegedy et al. 2014, "Going deeper with convolutions", arXiv 1409.4842, table 1).

A stem, nine inception modules (1x1, 3x3 and 5x5 convolutions and a pool beside each other), the mean over all pixels,
and a Linear layer.
"""

from ..layers import Dropout, GlobalAvgPool, Layer, Linear, MaxPool2d, Sequential
from .blocks import check_width, conv_relu, scaled
from .inception import Conv, Module, largest, module
from .shapes import image_shape

MODULES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        *((192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64)),
        *((112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128)),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""Channels of the modules between two pools: 1x1; 1x1 and 3x3; 1x1 and 5x5; 1x1 behind the pool."""
LEAST, LEAST_SMALL = 15, 2


def googlenet(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    branch_kernel: int = 3,
    batch_norm: bool = True,
    dropout: float = 0.2,
    width: float = 1.0,
    small_images: bool = False,
) -> Sequential:
    """GoogLeNet without its auxiliary classifiers (6,624,904 parameters for 224x224x3 and 1000 classes).

    Parameters
    ----------
    branch_kernel : int
        Kernel size of the third branch of a module: 5 as in the paper, or 3 as in torchvision.
    batch_norm : bool
        Batch norm between each convolution and its ReLU (Ioffe and Szegedy 2015, arXiv 1502.03167). The network of
        the paper is ``googlenet:branch_kernel=5,batch_norm=false,dropout=0.4`` (6,998,552 parameters), but for its
        normalization of local responses.
    dropout : float
        Before the Linear layer.
    width : float
        Multiplies all channels; results are rounded down.
    small_images : bool
        A stem for images of the size of CIFAR's: a 3x3 convolution with stride 1, and no pool (as in pytorch-cifar).
    """
    least = LEAST_SMALL if small_images else LEAST
    _, _, channels = image_shape("googlenet", input_shape, least, small=LEAST_SMALL)
    check_width("googlenet", width)
    first, inputs = scaled(64, width), scaled(192, width)
    layers: list[Layer] = conv_relu(channels, inputs, 3, 1, 1, batch_norm=batch_norm)
    if not small_images:
        layers = [
            *(*conv_relu(channels, first, 7, 2, 3, batch_norm=batch_norm), _pool(3)),
            *conv_relu(first, first, 1, batch_norm=batch_norm),
            *(*conv_relu(first, inputs, 3, 1, 1, batch_norm=batch_norm), _pool(3)),
        ]
    for number, stage in enumerate(MODULES):
        if number:
            layers.append(_pool(3 if number == 1 else 2))
        for sizes in stage:
            layer, inputs = module(inputs, _branches(sizes, branch_kernel), width=width, batch_norm=batch_norm)
            layers.append(layer)
    return Sequential(*layers, GlobalAvgPool(), Dropout(dropout), Linear(inputs, num_outputs))


def _pool(kernel_size: int) -> MaxPool2d:
    return MaxPool2d(kernel_size, 2, ceil_mode=True)


def _branches(sizes: tuple[int, ...], kernel: int) -> Module:
    alone, before3, three, before5, five, pooled = sizes
    return (
        (Conv(alone, 1),),
        (Conv(before3, 1), Conv(three, 3)),
        (Conv(before5, 1), Conv(five, kernel)),
        (largest, Conv(pooled, 1)),
    )
