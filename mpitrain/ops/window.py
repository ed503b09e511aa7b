"""The window that convolutions and pools slide over an image, and views of the pixels under it.

Images are (N, H, W, C), C-contiguous. H', W' are the padded sizes, OH, OW the output sizes, KH, KW the kernel's.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from .workspace import workspace

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """Kernel size, stride, padding (on both sides) and dilation, each as (vertical, horizontal)."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    def extent(self, dim: int) -> int:
        """Return the number of pixels from the window's first to its last tap."""
        return (self.kernel[dim] - 1) * self.dilation[dim] + 1

    def padded(self, size: Pair) -> Pair:
        """Return (H', W') of an image of ``size`` (H, W)."""
        return size[0] + 2 * self.padding[0], size[1] + 2 * self.padding[1]

    def output(self, size: Pair) -> Pair:
        """Return (OH, OW) for an image of ``size`` (H, W).

        Raises
        ------
        UserError
            If the window is larger than the padded image.
        """
        padded = self.padded(size)
        if padded[0] < self.extent(0) or padded[1] < self.extent(1):
            raise UserError(
                f"a window of {self.extent(0)}x{self.extent(1)} pixels does not fit into an image of "
                f"{padded[0]}x{padded[1]} pixels (padding counted)"
            )
        return (
            (padded[0] - self.extent(0)) // self.stride[0] + 1,
            (padded[1] - self.extent(1)) // self.stride[1] + 1,
        )


@dataclass(frozen=True)
class Geometry:
    """A window over images of one size.

    Parameters
    ----------
    window : Window
    size : (int, int)
        (H, W) of the images.
    """

    window: Window
    size: Pair

    @property
    def output(self) -> Pair:
        """(OH, OW)."""
        return self.window.output(self.size)


def pair(value: int | tuple[int, int], name: str, least: int = 1) -> Pair:
    """Return ``value`` as a pair of integers; an int counts for both directions.

    Raises
    ------
    UserError
        If a number is below ``least``.
    """
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or min(both) < least:
        raise UserError(f"{name} must be one or two integers of at least {least}, not {value}")
    return both[0], both[1]


def padded(x: np.ndarray, window: Window, fill: float = 0) -> np.ndarray:
    """Return ``x`` (N, H, W, C) in scratch memory (N, H', W', C) with a border of ``fill``; itself without padding."""
    if window.padding == (0, 0):
        return x
    n, height, width, channels = x.shape
    out: np.ndarray = workspace(x, "padded", (n, *window.padded((height, width)), channels))
    (top, left), inside = window.padding, interior(out, window.padding)
    bottom, right = top + height, left + width
    for border in (out[:, :top], out[:, bottom:], out[:, top:bottom, :left], out[:, top:bottom, right:]):
        border[...] = fill
    np.copyto(inside, x)
    return out


def interior(padded: np.ndarray, padding: Pair) -> np.ndarray:
    """Return the view of ``padded`` (N, H', W', C) without its border."""
    return padded[:, padding[0] : padded.shape[1] - padding[0], padding[1] : padded.shape[2] - padding[1]]


def tap(padded: np.ndarray, window: Window, output: Pair, kh: int, kw: int) -> np.ndarray:
    """Return the view (N, OH, OW, C) of the pixels under tap (kh, kw) at each position of the window."""
    (sh, sw), (top, left) = window.stride, (kh * window.dilation[0], kw * window.dilation[1])
    return padded[:, top : top + (output[0] - 1) * sh + 1 : sh, left : left + (output[1] - 1) * sw + 1 : sw]


def strided(base: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """Return a view of C-contiguous ``base`` with any shape and strides in elements (as_strided, 20 times faster)."""
    item = base.itemsize
    return np.ndarray(shape, base.dtype, base, 0, tuple(s * item for s in strides))
