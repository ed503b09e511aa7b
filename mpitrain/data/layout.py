"""The order of an image's dims: channels are last here, and first in many files."""

from ..errors import UserError

_CHANNELS = (1, 3, 4)  # gray, color, color and opacity


def check_channels_last(shape: tuple[int, ...], where: str) -> None:
    """Raise UserError for images (N, H, W, C) that look like (N, C, H, W), with the transpose that converts them.

    An image 1, 3 or 4 pixels high whose last dim is not a common number of channels is taken for one with
    channels first; and so is a square of more pixels than its first dim has (2 or 13 channels of 64 x 64). Shapes that
    may be either, such as (3, 3, 3), are channels last.

    Examples
    --------
    >>> check_channels_last((60, 28, 28, 1), "x")
    >>> check_channels_last((60, 1, 28, 28), "x")
    Traceback (most recent call last):
    mpitrain.errors.UserError: x have the shape (60, 1, 28, 28), which looks like channels first: images are ...
    """
    _, first, second, last = shape
    no_channels = second not in _CHANNELS and last not in _CHANNELS
    if no_channels and (first in _CHANNELS or first < second == last):
        raise UserError(
            f"{where} have the shape {shape}, which looks like channels first: images are (N, H, W, C) here, so save "
            f"x.transpose(0, 2, 3, 1) (or x.swapaxes(1, 2) if the height really is {first})"
        )
