"""A small convolutional network for small images: two 3x3 convolutions, a pool, two fully connected layers.

The plain shape of LeNet-5 (LeCun et al. 1998) with 3x3 kernels (Simonyan and Zisserman 2015, arXiv 1409.1556).
"""

from ..layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential
from .shapes import image_shape


def convnet(
    input_shape: tuple[int, ...], num_outputs: int, *, channels: tuple[int, int] = (16, 32), width: int = 64
) -> Sequential:
    """A small convolutional network: conv 3x3, ReLU, conv 3x3, max pool 2, ReLU, Linear, ReLU, Linear.

    It has 38,282 parameters for 8x8x1 digits. Pooling comes before ReLU: the result is the same, and ReLU touches a
    quarter of the elements.

    Parameters
    ----------
    channels : (int, int)
        Output channels of the two convolutions.
    width : int
        Size of the hidden fully connected layer.
    """
    height, breadth, depth = image_shape("convnet", input_shape, least=2)
    first, second = channels
    return Sequential(
        Conv2d(depth, first, 3, padding=1),
        ReLU(),
        Conv2d(first, second, 3, padding=1),
        MaxPool2d(2),
        ReLU(),
        Flatten(),
        Linear(height // 2 * (breadth // 2) * second, width),
        ReLU(),
        Linear(width, num_outputs),
    )
