"""Transposed convolution over images: it makes them larger."""

from functools import partial

import numpy as np

from ..context import Context
from ..errors import UserError
from ..ops.conv2d import Conv2dPlan, conv2d, conv2d_db, conv2d_dw, conv2d_dx, plan_conv2d
from ..ops.window import Pair, Window, pair
from ..parameter import Parameter
from . import init
from .base import Layer, empty_gradient


class ConvTranspose2d(Layer):
    """The adjoint of a convolution with the same kernel, stride and padding.

    Parameters
    ----------
    in_channels, out_channels : int
        C and O.
    kernel_size : int or (int, int)
        Vertical and horizontal.
    stride : int or (int, int), optional
        The kernel size by default: then each pixel becomes KH x KW pixels of its own.
    padding : int or (int, int)
        Pixels cut off on each side of y.
    bias : bool

    Raises
    ------
    UserError
        If a size is not positive, or (in ``forward``) nothing is left of y after the padding is cut off.

    Notes
    -----
    x is (N, H, W, C), w (KH, KW, O, C), b (O,), y (N, OH, OW, O), with OH = (H - 1) stride + KH - 2 padding and

        y[n, i stride + k - padding, ..., o] = b[o] + sum over c, k, l of x[n, i, j, c] w[k, l, o, c].

    Forward is dx of the convolution of y, whose weights w are; dx is its forward, and dw its dw with x and dy changing
    places (Dumoulin and Visin 2016, "A guide to convolution arithmetic", arXiv 1603.07285, section 4).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        bias: bool = True,
    ):
        self.in_channels, self.out_channels = in_channels, out_channels
        kernel = pair(kernel_size, "kernel_size")
        steps = kernel if stride is None else pair(stride, "stride")
        self.window = Window(kernel, steps, pair(padding, "padding", least=0))
        # the pixels of x that one of y depends on, on average: the padding apart
        taps = max(1.0, kernel[0] / steps[0]) * max(1.0, kernel[1] / steps[1])
        fan_in = round(in_channels * taps)
        self.weight = Parameter((*kernel, out_channels, in_channels), init.lecun_uniform(fan_in))
        self.bias = Parameter((out_channels,), init.lecun_uniform(fan_in), decay=False) if bias else None
        self._plans: dict[Pair, tuple[Pair, Conv2dPlan]] = {}

    def output(self, size: Pair) -> Pair:
        """Return (OH, OW) for images of ``size`` (H, W)."""
        kernel, stride, padding = self.window.kernel, self.window.stride, self.window.padding
        height, width = ((size[dim] - 1) * stride[dim] + kernel[dim] - 2 * padding[dim] for dim in (0, 1))
        return height, width

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return the transposed convolution of x, and b added."""
        output, plan = self._plan(x)
        ctx[self] = x, plan
        y: np.ndarray = ctx.lend(self, "y", (len(x), *output, self.out_channels))
        conv2d_dx(x, self.weight.data, y, plan)
        if self.bias is not None:
            np.add(y, self.bias.data, out=y)
        return y

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write dw and db, or put them off; return dx."""
        x, plan = ctx[self]
        if ctx.later is None:
            self._put_gradients(x, dy, plan)
        elif self.trains:
            ctx.later.append(partial(self._put_gradients, x, dy, plan))
        if not self.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", x.shape)
        conv2d(dy, self.weight.data, None, dx, plan)
        return dx

    def _put_gradients(self, x: np.ndarray, dy: np.ndarray, plan: Conv2dPlan) -> None:
        """Write dw and db, if they are trained."""
        if not self.weight.frozen:
            conv2d_dw(dy, x, self.weight.grad, plan, self.weight.accumulate)
            self.weight.written()
        if self.bias is not None and not self.bias.frozen:
            conv2d_db(dy, self.bias.grad, self.bias.accumulate)
            self.bias.written()

    def _plan(self, x: np.ndarray) -> tuple[Pair, Conv2dPlan]:
        """Return the size of y, and the plan of the convolution that leads from y to x; made once for each size."""
        if x.ndim != 4 or x.shape[3] != self.in_channels:
            raise UserError(
                f"a ConvTranspose2d of {self.in_channels} channels expects images (N, H, W, C), not {x.shape}"
            )
        size = x.shape[1], x.shape[2]
        if size not in self._plans:
            output = self.output(size)
            if min(output) < 1:
                raise UserError(f"a ConvTranspose2d makes images of {output[0]}x{output[1]} from {size[0]}x{size[1]}")
            plan = plan_conv2d(self.window, output, 1, self.out_channels, self.in_channels)
            self._plans[size] = output, plan
        return self._plans[size]
