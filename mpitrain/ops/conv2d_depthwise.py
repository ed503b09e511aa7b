"""Depthwise convolution: each channel has its own kernel, and no product sums over channels.

So the taps are visited one by one, y += x_tap * w_tap, on a few images that stay in the cache
(Howard et al. 2017, "MobileNets", arXiv 1704.04861).

Legend: x (N, H, W, C); w (KH, KW, 1, C); y (N, OH, OW, C). Kernels are repeated along a line of y, so that inner
loops run over lines and not over the few channels of a pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .window import Geometry, Pair, interior, padded, tap
from .workspace import workspace


@dataclass(frozen=True)
class Depthwise(Geometry):
    """The geometry of one convolution.

    Parameters
    ----------
    window, size
        See ``Geometry``.
    images : int
        Images in a chunk.
    """

    images: int = 1

    def run(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray) -> None:
        """Write y = x * w + b."""
        lines = self._lines(w)
        for chunk in self._chunks(len(x)):
            part = workspace(y, "part", y[chunk].shape)
            pixels = padded(x[chunk], self.window)
            y[chunk] = 0 if b is None else b
            for (kh, kw), line in lines:
                np.multiply(tap(pixels, self.window, self.output, kh, kw), line, out=part)
                np.add(y[chunk], part, out=y[chunk])

    def dx(self, dy: np.ndarray, w: np.ndarray, dx: np.ndarray) -> None:
        """Write the gradient of x."""
        lines = self._lines(w)
        for chunk in self._chunks(len(dx)):
            part = workspace(dx, "part", dy[chunk].shape)
            pixels = workspace(dx, "padded", (len(part), *self.window.padded(self.size), dx.shape[3]))
            pixels.fill(0)
            for (kh, kw), line in lines:
                np.multiply(dy[chunk], line, out=part)
                place = tap(pixels, self.window, self.output, kh, kw)
                np.add(place, part, out=place)
            np.copyto(dx[chunk], interior(pixels, self.window.padding, self.size))

    def dw(self, x: np.ndarray, dy: np.ndarray, dw: np.ndarray, accumulate: bool) -> None:
        """Write (or add) the gradient of w."""
        if not accumulate:
            dw.fill(0)
        for chunk in self._chunks(len(x)):
            pixels = padded(x[chunk], self.window)
            for kh, kw in np.ndindex(self.window.kernel):
                seen = tap(pixels, self.window, self.output, kh, kw)
                dw[kh, kw, 0] += np.einsum("nhwc,nhwc->wc", seen, dy[chunk]).sum(axis=0)

    def _chunks(self, num_images: int) -> Iterator[slice]:
        for first in range(0, num_images, self.images):
            yield slice(first, min(first + self.images, num_images))

    def _lines(self, w: np.ndarray) -> list[tuple[Pair, np.ndarray]]:
        """Return each tap with its weights for a line of y, (OW, C)."""
        kh, kw = self.window.kernel
        return [((i, j), np.tile(w[i, j], (self.output[1], 1))) for i in range(kh) for j in range(kw)]
