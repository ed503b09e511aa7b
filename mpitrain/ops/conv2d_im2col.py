"""Convolution as a matrix product over gathered columns (im2col), also with blocks of neighboring outputs.

im2col copies the KH x KW x C pixels under each output into a row and multiplies by the weights. With few channels
that wastes both memory (75 copies per pixel for 5x5x3) and vector width (O = 6 columns). So a row may serve t
neighboring outputs of one image line: it holds the KH x S x C pixels, S = (t - 1) stride + KW, under all t, and is
multiplied by the weights in block-Toeplitz form, (KH S C, t O), whose column block j is the kernel shifted by j
strides. t = 1 is plain im2col (Chellapilla et al. 2006, "High performance convolutional neural networks for document
processing"), the readable path and the oracle.

Legend: x (N, H, W, C); w (KH, KW, C/G, O); y (N, OH, OW, O); B = OW / t blocks in a line; M = images OH B rows in one
chunk of images; K = KH S C/G. The columns of a chunk stay in the cache between the copy and the product.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .matmul import matmul, matmul_transpose_a
from .window import Geometry, interior, padded, strided
from .workspace import workspace


@dataclass(frozen=True)
class Im2col(Geometry):
    """The geometry of one convolution, and its division into blocks and chunks.

    Parameters
    ----------
    window, size
        See ``Geometry``.
    groups : int
    block : int
        t, a divisor of OW; above 1 only with one group and no horizontal dilation.
    images : int
        Images in a chunk.
    """

    groups: int = 1
    block: int = 1
    images: int = 1

    def __post_init__(self) -> None:
        assert self.output[1] % self.block == 0, "the block must divide the output width"
        assert self.block == 1 or (self.groups == 1 and self.window.dilation[1] == 1), "blocks: 1 group, no dilation"

    @property
    def direct(self) -> bool:
        """True when the pixels themselves are the columns and nothing is gathered."""
        return self.window.kernel == self.window.stride == (1, 1) and self.groups == self.block == 1

    @property
    def span(self) -> int:
        """S, the taps of a line that serve one block of outputs."""
        return (self.block - 1) * self.window.stride[1] + self.window.kernel[1]

    def run(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray) -> None:
        """Write y = x * w + b (cross-correlation)."""
        wide = self._widen(w)
        for chunk, pixels in self._chunks(x):
            out = y[chunk]
            matmul(self._gather(pixels), wide, self._by_group(out))
            if b is not None:
                _add_bias(out, b)

    def dx(self, dy: np.ndarray, w: np.ndarray, dx: np.ndarray) -> None:
        """Write the gradient of x: columns of gradients, dy wide^T, added back to the pixels they came from."""
        wide = self._widen(w).transpose(0, 2, 1)
        height, width = self.window.padded(self.size)
        for chunk in self._slices(len(dy)):
            part = dy[chunk]
            columns = workspace(dx, "columns", self._columns_shape(len(part), dx.shape[3]))
            matmul(self._by_group(part), wide, columns)
            pixels = workspace(dx, "dx padded", (len(part), height, width, dx.shape[3]))
            self._scatter(columns, pixels)
            np.copyto(dx[chunk], interior(pixels, self.window.padding, self.size))

    def dw(self, x: np.ndarray, dy: np.ndarray, dw: np.ndarray, accumulate: bool) -> None:
        """Write (or add) the gradient of w: columns^T dy, the t shifted copies of each weight summed."""
        rows, num_outputs = self._rows(dw.shape[2]), self.block * dw.shape[3] // self.groups
        wide = workspace(dw, "wide dw", (self.groups, rows, num_outputs))
        part = workspace(dw, "wide dw of a chunk", wide.shape)
        wide.fill(0)
        for chunk, pixels in self._chunks(x):
            matmul_transpose_a(self._gather(pixels), self._by_group(dy[chunk]), part)
            np.add(wide, part, out=wide)
        narrow = self._shifted(wide, dw.shape).sum(axis=3)
        np.add(dw, narrow, out=dw) if accumulate else np.copyto(dw, narrow)

    def columns_size(self, channels: int) -> int:
        """Return the number of elements in the columns of one image."""
        return math.prod(self._columns_shape(1, channels))

    def gathered_run(self, channels: int) -> int:
        """Return the number of neighboring elements that are gathered at a time."""
        dense = self.window.dilation[1] == 1 and self.groups == 1
        return self.span * channels if dense else channels // self.groups

    def scattered_run(self, channels: int) -> int:
        """Return the average number of neighboring elements that are added back at a time."""
        if self.window.dilation[1] > 1 or self.groups > 1:
            return channels // self.groups
        return self.span * channels // -(-self.span // self._taps_per_addition())

    def _slices(self, num_images: int) -> Iterator[slice]:
        for first in range(0, num_images, self.images):
            yield slice(first, min(first + self.images, num_images))

    def _chunks(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield each chunk of images as a slice and as padded pixels."""
        for chunk in self._slices(len(x)):
            yield chunk, padded(x[chunk], self.window)

    def _rows(self, channels: int) -> int:
        return self.window.kernel[0] * self.span * channels

    def _columns_shape(self, images: int, channels: int) -> tuple[int, int, int]:
        oh, ow = self.output
        return self.groups, images * oh * ow // self.block, self._rows(channels // self.groups)

    def _gather(self, pixels: np.ndarray) -> np.ndarray:
        """Return the columns (G, M, K) of a chunk; for a 1x1 kernel the pixels themselves."""
        images, height, width, channels = pixels.shape
        if self.direct:
            return pixels.reshape(1, -1, channels)
        (oh, ow), (kh, _), per_group = self.output, self.window.kernel, channels // self.groups
        (sh, sw), (dh, dw) = self.window.stride, self.window.dilation
        row = width * channels
        seen = strided(
            pixels,
            (self.groups, images, oh, ow // self.block, kh, self.span, per_group),
            (per_group, height * row, sh * row, self.block * sw * channels, dh * row, dw * channels, 1),
        )
        columns: np.ndarray = workspace(pixels, "columns", self._columns_shape(images, channels))
        np.copyto(columns.reshape(seen.shape), seen)
        return columns

    def _scatter(self, columns: np.ndarray, pixels: np.ndarray) -> None:
        """Write to ``pixels``, which are padded, the sum of all column entries that were gathered from each pixel.

        Entries of one kernel line that are less than a block's advance apart never coincide, so one addition takes a
        run of them for all blocks at once; with dilation a run is a single tap.
        """
        images, height, width, channels = pixels.shape
        (oh, ow), (kh, _), per_group = self.output, self.window.kernel, channels // self.groups
        (sh, sw), (dh, dw) = self.window.stride, self.window.dilation
        blocks, advance, row = ow // self.block, self.block * sw, width * channels
        run = self._taps_per_addition()
        shape = (self.groups, images, oh, blocks, kh, self.span, per_group)
        columns = columns.reshape(shape)
        pixels.fill(0)
        for i in range(kh):
            for j in range(0, self.span, run):
                part = columns[:, :, :, :, i, j : j + run]
                place = strided(
                    pixels.reshape(-1)[i * dh * row + j * dw * channels :],
                    part.shape,
                    (per_group, height * row, sh * row, advance * channels, channels, 1),
                )
                np.add(place, part, out=place)

    def _taps_per_addition(self) -> int:
        if self.window.dilation[1] > 1:
            return 1
        return self.span if self.block == self.output[1] else self.block * self.window.stride[1]

    def _by_group(self, y: np.ndarray) -> np.ndarray:
        """Return y (images, OH, OW, O) as (G, M, t O/G), a view."""
        rows = y.size // (self.block * y.shape[3])
        return y.reshape(rows, self.groups, y.shape[3] * self.block // self.groups).transpose(1, 0, 2)

    def _widen(self, w: np.ndarray) -> np.ndarray:
        """Return w in block-Toeplitz form, (G, K, t O/G); for t = 1 a view of w."""
        if self.block == 1:
            return w.reshape(-1, self.groups, w.shape[3] // self.groups).transpose(1, 0, 2)
        wide: np.ndarray = workspace(w, "wide w", (1, self._rows(w.shape[2]), self.block * w.shape[3]))
        wide.fill(0)
        np.copyto(self._shifted(wide, w.shape), w[:, :, :, None])
        return wide

    def _shifted(self, wide: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return the view (KH, KW, C/G, t, O) of the t copies of the weights in ``wide``."""
        kh, kw, channels, num_outputs = shape
        if self.groups > 1:
            split = wide.reshape(self.groups, kh, kw, channels, 1, num_outputs // self.groups)
            return split.transpose(1, 2, 3, 4, 0, 5).reshape(kh, kw, channels, 1, num_outputs)
        row = self.block * num_outputs
        return strided(
            wide,
            (kh, kw, channels, self.block, num_outputs),
            (self.span * channels * row, channels * row, row, self.window.stride[1] * channels * row + num_outputs, 1),
        )


def _add_bias(y: np.ndarray, b: np.ndarray) -> None:
    """Add b (O,) to each pixel, a line of the image at a time (short rows would cost a loop start each)."""
    lines = y.reshape(-1, y.shape[2] * y.shape[3])
    np.add(lines, np.tile(b, y.shape[2]), out=lines)
