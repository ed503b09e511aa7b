"""MobileNet (Howard et al. 2017, "MobileNets: efficient convolutional neural networks for mobile vision applications").

arXiv 1704.04861, table 1: a 3x3 convolution, 13 pairs of a depthwise 3x3 and a 1x1 convolution, the mean over all
pixels, and a Linear layer.
"""

from ..layers import Dropout, GlobalAvgPool, Layer, Linear, Sequential
from .blocks import check_width, conv_relu, scaled
from .shapes import image_shape

PAIRS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Output channels and stride of each pair."""


def mobilenet_v1(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    width: float = 1.0,
    dropout: float = 0.0,
    small_images: bool = False,
) -> Sequential:
    """MobileNet v1 (4,231,976 parameters for 224x224x3 and 1000 classes).

    Parameters
    ----------
    width : float
        Multiplies all channels (the paper's alpha: 0.25, 0.5, 0.75 or 1); results are rounded down.
    dropout : float
        Before the Linear layer.
    small_images : bool
        For images of the size of CIFAR's: stride 1 in the first convolution.
    """
    _, _, channels = image_shape("mobilenet_v1", input_shape, least=1)
    check_width("mobilenet_v1", width)
    inputs = scaled(32, width)
    layers: list[Layer] = conv_relu(channels, inputs, 3, 1 if small_images else 2, 1)
    for base, stride in PAIRS:
        outputs = scaled(base, width)
        layers += conv_relu(inputs, inputs, 3, stride, 1, groups=inputs)
        layers += conv_relu(inputs, outputs, 1)
        inputs = outputs
    return Sequential(*layers, GlobalAvgPool(), Dropout(dropout), Linear(inputs, num_outputs))
