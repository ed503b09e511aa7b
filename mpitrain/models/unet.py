"""U-Net (Ronneberger et al. 2015, "U-Net: convolutional networks for biomedical image segmentation", 1505.04597).

A way down of blocks of two 3x3 convolutions and pools, each block with twice the channels of the one above, and a way
up of transposed convolutions and such blocks, each of which also sees the result of the block at its height.
"""

import math

from ..errors import UserError
from ..layers import BatchNorm2d, Conv2d, ConvTranspose2d, Layer, MaxPool2d, ReLU, Sequential, SkipConcat, init
from .shapes import image_shape


def unet(
    input_shape: tuple[int, ...], num_outputs: int, *, depth: int = 3, width: int = 16, batch_norm: bool = True
) -> Sequential:
    """A U-Net, which gives logits (N, H, W, num_outputs): one row for each pixel.

    The network of the paper is ``unet:depth=4,width=64,batch_norm=false`` (31,030,658 parameters for 1 channel and 2
    classes). Unlike there, convolutions are padded, so that each pixel of the image gets a result.

    Parameters
    ----------
    depth : int
        Number of pools: each halves height and width and doubles the channels.
    width : int
        Channels of the first block.
    batch_norm : bool
        Batch norm between each 3x3 convolution and its ReLU, as most have added since.
    """
    height, breadth, channels = image_shape("unet", input_shape, least=1)
    if depth < 0 or width < 1:
        raise UserError(f"unet needs a depth of at least 0 and a width of at least 1, not {depth} and {width}")
    if min(height, breadth) < 2**depth:
        fits = min(height, breadth).bit_length() - 1
        raise UserError(f"images of {height}x{breadth} cannot be halved {depth} times: unet:depth={fits} can take them")
    last = Conv2d(width, num_outputs, 1)
    return Sequential(*_level(channels, width, depth, batch_norm), last)


def _level(inputs: int, width: int, below: int, batch_norm: bool) -> list[Layer]:
    """Return the layers from the block of ``width`` channels on the way down to that on the way up."""
    block = _block(inputs, width, batch_norm)
    if not below:
        return block
    up = ConvTranspose2d(2 * width, width, 2)
    inner = Sequential(MaxPool2d(2), *_level(width, 2 * width, below - 1, batch_norm), up)
    return [*block, SkipConcat(inner), *_block(2 * width, width, batch_norm)]


def _block(inputs: int, width: int, batch_norm: bool) -> list[Layer]:
    layers: list[Layer] = []
    for channels in (inputs, width):
        conv = Conv2d(channels, width, 3, padding=1, bias=not batch_norm)
        conv.weight.init = init.he(math.prod(conv.weight.shape[:-1]))  # as in the paper
        layers += [conv, *([BatchNorm2d(width)] if batch_norm else []), ReLU()]
    return layers
