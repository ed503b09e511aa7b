"""VGG networks (Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image recognition").

arXiv 1409.1556, table 1, configurations A, B, D and E: stages of 3x3 convolutions, each with a pool at its end.
"""

from ..errors import UserError
from ..layers import Dropout, Flatten, GlobalAvgPool, Layer, Linear, MaxPool2d, Sequential, init
from .blocks import conv_relu, linear_relu
from .shapes import image_shape

STAGES = (64, 128, 256, 512, 512)  # channels


def vgg(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    convolutions: tuple[int, ...] = (2, 2, 3, 3, 3),
    channels: tuple[int, ...] = STAGES,
    batch_norm: bool = False,
    hidden: int = 4096,
    dropout: float = 0.5,
    small_images: bool = False,
) -> Sequential:
    """A VGG network (vgg16: 138,357,544 parameters for 224x224x3 and 1000 classes).

    Parameters
    ----------
    convolutions, channels : tuple of int
        Number of convolutions of each stage, and their output channels.
    batch_norm : bool
        Batch norm between each convolution (with a bias, as in torchvision) and its ReLU.
    hidden : int
        Size of the two hidden fully connected layers.
    dropout : float
        After each of these.
    small_images : bool
        For images of the size of CIFAR's: one Linear layer on the mean over all pixels, without hidden ones (as in
        pytorch-cifar; the images are 1x1 there).
    """
    if not convolutions or len(convolutions) != len(channels) or min(*convolutions, *channels) < 1:
        raise UserError("vgg needs numbers of convolutions and of channels of at least 1, one of each for every stage")
    height, width, inputs = image_shape("vgg", input_shape, least=2 ** len(channels))
    layers: list[Layer] = []
    for count, outputs in zip(convolutions, channels, strict=True):
        for _ in range(count):
            layers += conv_relu(inputs, outputs, 3, 1, 1, batch_norm=batch_norm, bias=True, eps=1e-5)
            inputs = outputs
        relu = layers.pop()
        layers += [MaxPool2d(2), relu]  # the same in this order, of a quarter of the elements
        height, width = height // 2, width // 2
    if small_images:
        return Sequential(*layers, GlobalAvgPool(), Linear(inputs, num_outputs))
    last = Linear(hidden, num_outputs)
    last.weight.init = init.normal(0.01)
    hidden_layers = [
        *(*linear_relu(height * width * inputs, hidden), Dropout(dropout)),
        *(*linear_relu(hidden, hidden), Dropout(dropout)),
    ]
    return Sequential(*layers, Flatten(), *hidden_layers, last)
