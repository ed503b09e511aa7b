"""A small convolutional network for spectrograms of any length, such as log-mel features of words.

The shape is that of networks for keywords (Sainath and Parada 2015, "Convolutional neural networks for small-footprint
keyword spotting") with 3x3 kernels, batch normalization, and a mean over time in place of a fully connected layer.
"""

from ..layers import BatchNorm2d, Conv2d, Dropout, GlobalAvgPool, Layer, Linear, MaxPool2d, ReLU, Sequential
from .shapes import image_shape


def audio_convnet(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    channels: tuple[int, ...] = (16, 32, 64),
    width: int = 128,
    dropout: float = 0.0,
) -> Sequential:
    """A network for (T, M, 1) spectrograms: blocks of conv 3x3, batch norm, max pool 2 and ReLU, then a mean over time.

    After the blocks, a convolution over all bands that are left sees one moment at a time, and the mean of its results
    over time goes to the last layer: weights do not depend on the length. For 98 frames of 40 bands and 10 classes it
    has 65,914 parameters.

    Parameters
    ----------
    channels : tuple of int
        Output channels of each block.
    width : int
        Channels of the convolution over all bands.
    dropout : float
        Share of the means that are dropped in training.
    """
    frames, bands, depth = image_shape("audio-convnet", input_shape, least=1 << len(channels))
    layers: list[Layer] = []
    for outputs in channels:
        layers += [Conv2d(depth, outputs, 3, padding=1, bias=False), BatchNorm2d(outputs), MaxPool2d(2), ReLU()]
        frames, bands, depth = frames // 2, bands // 2, outputs
    layers += [Conv2d(depth, width, (1, bands), bias=False), BatchNorm2d(width), ReLU(), GlobalAvgPool()]
    if dropout:
        layers.append(Dropout(dropout))
    return Sequential(*layers, Linear(width, num_outputs))
