"""Checks of the input shapes of models."""

from ..errors import UserError


def image_shape(model: str, input_shape: tuple[int, ...], least: int) -> tuple[int, int, int]:
    """Return (H, W, C) of the input of ``model``, which requires images of at least ``least`` x ``least`` pixels.

    Raises
    ------
    UserError
        If the samples are not images, or smaller.
    """
    if len(input_shape) != 3:
        raise UserError(
            f"the model {model} takes images (height, width, channels), but the samples have the shape {input_shape}: "
            "--model mlp takes any"
        )
    height, width, channels = input_shape
    if min(height, width) < least:
        raise UserError(f"the model {model} needs images of at least {least}x{least}, but these are {height}x{width}")
    return height, width, channels
