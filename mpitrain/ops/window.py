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
    """Kernel size, stride, padding (on both sides) and dilation, each as (vertical, horizontal).

    With ``ceil``, a last window that begins inside of the padded image counts though it reaches beyond its end, where
    there is more padding for it.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil: bool = False

    def extent(self, dim: int) -> int:
        """Return the number of pixels from the window's first to its last tap."""
        return (self.kernel[dim] - 1) * self.dilation[dim] + 1

    def padded(self, size: Pair) -> Pair:
        """Return (H', W') of an image of ``size`` (H, W)."""
        height, width = size[0] + 2 * self.padding[0], size[1] + 2 * self.padding[1]
        return (max(height, self._end(height, 0)), max(width, self._end(width, 1))) if self.ceil else (height, width)

    def output(self, size: Pair) -> Pair:
        """Return (OH, OW) for an image of ``size`` (H, W).

        Raises
        ------
        UserError
            If the window is larger than the padded image.
        """
        height, width = size[0] + 2 * self.padding[0], size[1] + 2 * self.padding[1]
        found = self._count(height, 0), self._count(width, 1)
        if min(found) < 1:
            raise UserError(
                f"a window of {self.extent(0)}x{self.extent(1)} pixels does not fit into an image of "
                f"{height}x{width} pixels (padding counted)"
            )
        return found

    def _count(self, length: int, dim: int) -> int:
        """Return the number of windows along a side of ``length`` pixels, padding counted; < 1 if none fits."""
        room, stride = length - self.extent(dim), self.stride[dim]
        if not self.ceil:
            return room // stride + 1
        last = -(-room // stride)
        return last if last * stride >= length - self.padding[dim] else last + 1  # it must not begin in the padding

    def _end(self, length: int, dim: int) -> int:
        """Return the place after the last pixel of the last window."""
        return (self._count(length, dim) - 1) * self.stride[dim] + self.extent(dim)


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
    n, height, width, channels = x.shape
    size = window.padded((height, width))
    if size == (height, width):
        return x
    out: np.ndarray = workspace(x, "padded", (n, *size, channels))
    (top, left), inside = window.padding, interior(out, window.padding, (height, width))
    bottom, right = top + height, left + width
    for border in (out[:, :top], out[:, bottom:], out[:, top:bottom, :left], out[:, top:bottom, right:]):
        border[...] = fill
    np.copyto(inside, x)
    return out


def interior(padded: np.ndarray, padding: Pair, size: Pair) -> np.ndarray:
    """Return the view of ``padded`` (N, H', W', C) without its border: images of ``size`` (H, W)."""
    return padded[:, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]


def tap(padded: np.ndarray, window: Window, output: Pair, kh: int, kw: int) -> np.ndarray:
    """Return the view (N, OH, OW, C) of the pixels under tap (kh, kw) at each position of the window."""
    (sh, sw), (top, left) = window.stride, (kh * window.dilation[0], kw * window.dilation[1])
    return padded[:, top : top + (output[0] - 1) * sh + 1 : sh, left : left + (output[1] - 1) * sw + 1 : sw]


def strided(base: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """Return a view of C-contiguous ``base`` with any shape and strides in elements (as_strided, 20 times faster)."""
    item = base.itemsize
    return np.ndarray(shape, base.dtype, base, 0, tuple(s * item for s in strides))
