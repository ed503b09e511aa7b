"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition")."""

from ..layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential
from .shapes import image_shape


def lenet(input_shape: tuple[int, ...], num_outputs: int) -> Sequential:
    """LeNet-5 in its present form, with ReLU and max pooling instead of sigmoids and trained averages.

    Smaller images than 32x32 are padded by 2 in the first convolution, as LeCun padded the 28x28 digits: 61,706
    parameters for those. Pooling comes before ReLU, which gives the same result.
    """
    height, width, channels = image_shape("lenet", input_shape, least=12)
    padding = 2 if min(height, width) < 32 else 0
    rows, columns = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in (height, width))
    return Sequential(
        Conv2d(channels, 6, 5, padding=padding),
        MaxPool2d(2),
        ReLU(),
        Conv2d(6, 16, 5),
        MaxPool2d(2),
        ReLU(),
        Flatten(),
        Linear(rows * columns * 16, 120),
        ReLU(),
        Linear(120, 84),
        ReLU(),
        Linear(84, num_outputs),
    )
