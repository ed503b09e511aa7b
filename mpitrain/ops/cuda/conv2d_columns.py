"""Convolution on a GPU by columns: gathered by one kernel, one product for many images, and columns added back.

It is the readable reference of the kernels that gather while they multiply (conv2d.py), and runs where these do not
cover a shape.

Shapes: x (N, H, W, C), w (KH, KW, C/G, O), b (O,), y (N, OH, OW, O); columns (G, N OH OW, KH KW C/G); fp32 or
bf16, but w and b are fp32.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ...device import device_of
from ..conv2d import Conv2dPlan
from ..gradient import Gradient
from ..window import Geometry
from ..workspace import workspace
from .elements import ElementKernel, element_kernel
from .launch import num_pieces, piece_of, spread, window_record
from .matmul import multiply

GATHER, SCATTER = (element_kernel("conv2d_im2col.cu", name=name) for name in ("im2col", "col2im"))
MOST_COLUMNS = 1 << 26  # elements at a time: 256 MiB


def columns_of(plan: Conv2dPlan) -> "Columns":
    """Return the algorithm for a plan."""
    return Columns(plan.forward_plan.window, plan.forward_plan.size, plan.groups)


@dataclass(frozen=True)
class Columns(Geometry):
    """One convolution as products over gathered columns.

    Parameters
    ----------
    window, size
        See ``ops.window.Geometry``.
    groups : int
    """

    groups: int

    def forward(self, x: Any, w: Any, b: Any, y: Any, residual: Any = None, epilogue: str = "none") -> None:
        """Write y = epilogue(x * w + b + residual); with groups b alone."""
        bias = b if self.groups == 1 else None
        for images in self._chunks(x):
            added = None if residual is None else self._rows(residual[images])
            multiply(
                *(self._gather(x[images]), self._by_group(w), self._rows(y[images])),
                bias=bias,
                beta=0.0 if added is None else 1.0,
                added=added,
                epilogue=epilogue,
            )
        if b is not None and bias is None:
            np.add(y, b, out=y)

    def dw(self, x: Any, dy: Any, dw: Any, accumulate: bool) -> None:
        """Write (or add) the gradient of w."""
        if not len(x) and not accumulate:
            dw.fill(0)
        for images in self._chunks(x):
            beta = 1.0 if accumulate or images.start else 0.0
            columns = self._gather(x[images])
            multiply(columns, self._rows(dy[images]), self._by_group(dw), transpose_a=True, beta=beta)

    def dx(self, dy: Any, w: Any, dx: Any, x: Any = None, db: Gradient | None = None, added: Any = None) -> None:
        """Write the gradient of x.

        A direct one also plus ``added``, or through the ReLU that gave ``x``, with the sums of ``db``.
        """
        for images in self._chunks(dx):
            part = dx[images]
            if self.is_direct:
                multiply(
                    *(self._rows(dy[images]), self._by_group(w), self._rows(part)),
                    transpose_b=True,
                    beta=0.0 if added is None else 1.0,
                    added=None if added is None else self._rows(added[images]),
                    epilogue="none" if x is None else "relu_gradient",
                    pre=None if x is None else self._rows(x[images]),
                    sums=db and db._replace(accumulate=db.accumulate or images.start > 0),
                )
                continue
            columns = workspace(dx, "columns", self._shape(part))
            multiply(self._rows(dy[images]), self._by_group(w), self._as_batch(columns), transpose_b=True)
            self._launch(SCATTER, part.shape[1] * part.shape[2], part, (columns, part))

    @property
    def is_direct(self) -> bool:
        """True when the pixels themselves are the columns."""
        window = self.window
        return window.kernel == window.stride == (1, 1) and window.padding == (0, 0) and self.groups == 1

    def _chunks(self, x: Any) -> Iterator[slice]:
        each = max(1, MOST_COLUMNS // max(1, self._columns_size(x.shape[3])))
        for first in range(0, len(x), each):
            yield slice(first, min(first + each, len(x)))

    def _columns_size(self, channels: int) -> int:
        (oh, ow), (kh, kw) = self.output, self.window.kernel
        return oh * ow * kh * kw * channels

    def _shape(self, x: Any) -> tuple[int, int, int]:
        (oh, ow), (kh, kw) = self.output, self.window.kernel
        return self.groups, len(x) * oh * ow, kh * kw * x.shape[3] // self.groups

    def _gather(self, x: Any) -> Any:
        if self.is_direct:
            return x.reshape(-1, x.shape[3])
        columns = workspace(x, "columns", self._shape(x))
        self._launch(GATHER, prod(self.output) * prod(self.window.kernel), x, (x, columns))
        return self._as_batch(columns)

    def _launch(self, kernel: ElementKernel, num_places: int, x: Any, arrays: tuple[Any, Any]) -> None:
        """Launch a kernel over the pixels, or the taps of all outputs, of the images ``x``."""
        across = num_places * num_pieces(x.shape[3] // self.groups, piece_of(x))
        arguments = *arrays, window_record(self.window, x, self.groups)
        spread(device_of(x), kernel.of(x), across, len(x), arguments, layers=self.groups)

    def _as_batch(self, columns: Any) -> Any:
        return columns if self.groups > 1 else columns.reshape(columns.shape[1:])

    def _rows(self, y: Any) -> Any:
        """Return y (N, OH, OW, O) as (N OH OW, O), or as (G, N OH OW, O/G)."""
        if self.groups == 1:
            return y.reshape(-1, y.shape[3])
        return y.reshape(-1, self.groups, y.shape[3] // self.groups).transpose(1, 0, 2)

    def _by_group(self, w: Any) -> Any:
        """Return w as (KH KW C, O), or as (G, KH KW C/G, O/G)."""
        num_outputs = w.shape[3]
        if self.groups == 1:
            return w.reshape(-1, num_outputs)
        return w.reshape(-1, self.groups, num_outputs // self.groups).transpose(1, 0, 2)
