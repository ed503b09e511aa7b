"""Convolution with 3x3 kernels by Winograd's minimal filtering F(4x4, 3x3): a quarter of the multiplications.

Each 4x4 tile of y needs a 6x6 tile of x. With the 1-D transforms A, B, G below and (x) for the Kronecker product,

    y_tile = (A (x) A) [ sum over c of ((G (x) G) w_c) * ((B (x) B) x_tile_c) ],

where * multiplies element by element. So all tiles together are 36 matrix products over channels, (T, C) x (C, O),
between transforms that are matrix products too (Winograd 1980; Lavin and Gray 2015, "Fast algorithms for
convolutional neural networks", arXiv 1509.09308). dw is the adjoint. Rounding errors are about ten times those of
the direct sum (1e-5 of the largest value in single precision).

Legend: x (N, H, W, C); w (3, 3, C, O); y (N, OH, OW, O); T tiles in a chunk of images; tiles that stick out over the
edge of y are computed and cut off.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .matmul import matmul, matmul_transpose_a
from .window import Geometry, Pair, strided
from .workspace import workspace

TILE = 4  # outputs on a side; 6 inputs
MATRICES = {
    "A": [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    "B": [
        *([4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]),
        *([0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]),
    ],
    "G": [
        *([1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6]),
        *([1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]),
    ],
}


@dataclass(frozen=True)
class Winograd(Geometry):
    """The geometry of one convolution.

    Parameters
    ----------
    window, size
        See ``Geometry``; 3x3, stride 1, no dilation, padding at most 2.
    images : int
        Images in a chunk.
    """

    images: int = 1

    @property
    def tiles(self) -> Pair:
        """Tiles in a column and in a row of one image."""
        oh, ow = self.output
        return -(-oh // TILE), -(-ow // TILE)

    def run(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray) -> None:
        """Write y = x * w + b."""
        channels, num_outputs = w.shape[2:]
        kernels = workspace(y, "kernels", (36, channels, num_outputs))
        np.matmul(_squared("G", w.dtype), w.reshape(9, -1), out=kernels.reshape(36, -1))
        for chunk, inputs in self._inputs(x):
            count = inputs.shape[1]
            products = workspace(y, "products", (36, count, num_outputs))
            matmul(inputs, kernels, products)
            tiles = workspace(y, "tiles", (16, count, num_outputs))
            _transform(_squared("A", w.dtype), products, tiles)
            self._write_tiles(tiles, y[chunk], b)

    def dw(self, x: np.ndarray, dy: np.ndarray, dw: np.ndarray, accumulate: bool) -> None:
        """Write (or add) the gradient of w."""
        channels, num_outputs = dw.shape[2:]
        total = workspace(dw, "kernels", (36, channels, num_outputs))
        part = workspace(dw, "kernels of a chunk", total.shape)
        total.fill(0)
        for chunk, inputs in self._inputs(x):
            products = workspace(dw, "products", (36, inputs.shape[1], num_outputs))
            _transform(_squared("A", dw.dtype).T, self._read_tiles(dy[chunk]), products)
            matmul_transpose_a(inputs, products, part)
            np.add(total, part, out=total)
        gradient = (_squared("G", dw.dtype).T @ total.reshape(36, -1)).reshape(dw.shape)
        np.add(dw, gradient, out=dw) if accumulate else np.copyto(dw, gradient)

    def _inputs(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield each chunk of images as a slice and as transformed input tiles (36, T, C)."""
        (rows, columns), (top, left), channels = self.tiles, self.window.padding, x.shape[3]
        height, width = rows * TILE + 2, columns * TILE + 2
        padded = workspace(x, "padded", (min(self.images, len(x)), height, width, channels))
        padded.fill(0)
        for first in range(0, len(x), self.images):
            chunk = slice(first, min(first + self.images, len(x)))
            count = chunk.stop - first
            np.copyto(padded[:count, top : top + self.size[0], left : left + self.size[1]], x[chunk])
            tiles = workspace(x, "input tiles", (36, count * rows * columns, channels))
            np.copyto(tiles.reshape(6, 6, count, rows, columns, channels), _tiles(padded[:count], 6, rows, columns))
            inputs = workspace(x, "inputs", tiles.shape)
            _transform(_squared("B", x.dtype), tiles, inputs)
            yield chunk, inputs

    def _write_tiles(self, tiles: np.ndarray, y: np.ndarray, b: np.ndarray | None) -> None:
        """Put ``tiles`` (16, T, O) side by side into ``y``, plus b."""
        (rows, columns), (count, oh, ow, num_outputs) = self.tiles, y.shape
        whole = (count, rows * TILE, columns * TILE, num_outputs)
        image = y if whole == y.shape else workspace(y, "whole tiles", whole)
        parts = tiles.reshape(TILE, TILE, count, rows, columns, num_outputs)
        np.add(parts, 0 if b is None else b, out=_tiles(image, TILE, rows, columns))
        if image is not y:
            np.copyto(y, image[:, :oh, :ow])

    def _read_tiles(self, dy: np.ndarray) -> np.ndarray:
        """Return ``dy`` as tiles (16, T, O), zero where they stick out."""
        (rows, columns), (count, oh, ow, num_outputs) = self.tiles, dy.shape
        whole = (count, rows * TILE, columns * TILE, num_outputs)
        if whole != dy.shape:
            image = workspace(dy, "whole tiles", whole)
            image.fill(0)
            np.copyto(image[:, :oh, :ow], dy)
            dy = image
        tiles: np.ndarray = workspace(dy, "tiles", (16, count * rows * columns, num_outputs))
        parts = tiles.reshape(TILE, TILE, count, rows, columns, num_outputs)
        np.copyto(parts, _tiles(dy, TILE, rows, columns))
        return tiles


@lru_cache
def _squared(name: str, dtype: np.dtype) -> np.ndarray:
    """Return the transform in both directions at once."""
    matrix = np.array(MATRICES[name])
    return np.kron(matrix, matrix).astype(dtype)


def _transform(matrix: np.ndarray, tiles: np.ndarray, out: np.ndarray) -> None:
    """Write matrix x tiles: (K, J) x (J, T, C) -> (K, T, C)."""
    matmul(tiles.reshape(len(tiles), -1).T, matrix.T, out.reshape(len(out), -1).T)


def _tiles(image: np.ndarray, side: int, rows: int, columns: int) -> np.ndarray:
    """Return the view (side, side, images, rows, columns, C) of the tiles that start every 4 pixels."""
    count, height, width, channels = image.shape
    row = width * channels
    return strided(
        image,
        (side, side, count, rows, columns, channels),
        (row, channels, height * row, TILE * row, TILE * channels, 1),
    )
