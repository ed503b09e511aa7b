"""AlexNet (Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997).

The network on one device that this paper calls a simple variant of the one of 2012 (Krizhevsky, Sutskever, Hinton,
"ImageNet classification with deep convolutional neural networks"): no local response normalization, no groups.
"""

from ..layers import Dropout, Flatten, Layer, Linear, MaxPool2d, Sequential
from .blocks import check_width, conv_relu, linear_relu, scaled
from .shapes import image_shape

LEAST, LEAST_SMALL = 63, 15


def alexnet(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    hidden: int = 4096,
    dropout: float = 0.5,
    width: float = 1.0,
    small_images: bool = False,
) -> Sequential:
    """AlexNet for images of the size of ImageNet's (61,100,840 parameters for 224x224x3 and 1000 classes).

    Parameters
    ----------
    hidden : int
        Size of the two hidden fully connected layers.
    dropout : float
        Before each of these.
    width : float
        Multiplies the channels of the convolutions; results are rounded down.
    small_images : bool
        A first convolution for images of the size of CIFAR's: 5x5 with stride 1, as in the networks that Krizhevsky
        had for these (cuda-convnet, 2011), instead of 11x11 with stride 4.
    """
    least = LEAST_SMALL if small_images else LEAST
    height, breadth, channels = image_shape("alexnet", input_shape, least, small=LEAST_SMALL)
    check_width("alexnet", width)
    a, b, c, d = (scaled(outputs, width) for outputs in (64, 192, 384, 256))
    first = conv_relu(channels, a, 5, 1, 2, batch_norm=False)
    if not small_images:
        first = conv_relu(channels, a, 11, 4, 2, batch_norm=False)
        height, breadth = ((side - 7) // 4 + 1 for side in (height, breadth))
    features = [
        *_with_pool(first),
        *_with_pool(conv_relu(a, b, 5, 1, 2, batch_norm=False)),
        *conv_relu(b, c, 3, 1, 1, batch_norm=False),
        *conv_relu(c, d, 3, 1, 1, batch_norm=False),
        *_with_pool(conv_relu(d, d, 3, 1, 1, batch_norm=False)),
    ]
    for _ in range(3):
        height, breadth = ((side - 3) // 2 + 1 for side in (height, breadth))
    return Sequential(
        *features,
        Flatten(),
        Dropout(dropout),
        *linear_relu(height * breadth * d, hidden),
        Dropout(dropout),
        *linear_relu(hidden, hidden),
        Linear(hidden, num_outputs),
    )


def _with_pool(layers: list[Layer]) -> list[Layer]:
    """Return a convolution and ReLU with a pool between them, which gives the same, of fewer elements."""
    conv, relu = layers
    return [conv, MaxPool2d(3, 2), relu]
