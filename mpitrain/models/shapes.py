"""Checks of the input shapes of models."""

from ..errors import UserError


def image_shape(
    model: str, input_shape: tuple[int, ...], least: int, *, small: int | None = None
) -> tuple[int, int, int]:
    """Return (H, W, C) of the input of ``model``, which requires images of at least ``least`` x ``least`` pixels.

    Parameters
    ----------
    small : int, optional
        The side that is enough with ``small_images=true``, which the message then proposes.

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
        fits = small is not None and min(height, width) >= small
        hint = f": {model}:small_images=true takes them" if fits else ""
        raise UserError(
            f"the model {model} needs images of at least {least}x{least}, but these are {height}x{width}{hint}"
        )
    return height, width, channels
