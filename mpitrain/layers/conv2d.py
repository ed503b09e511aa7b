"""Convolution over images."""

from copy import copy
from dataclasses import replace
from functools import partial

import numpy as np

from ..context import Context
from ..errors import UserError
from ..ops import conv2d as ops
from ..ops.batchnorm import Moments
from ..ops.conv2d import Conv2dPlan, conv2d_db, conv2d_dw, conv2d_dx, conv2d_dx_add, conv2d_moments, plan_conv2d
from ..ops.window import Pair, Window, pair
from ..parameter import Parameter, Shard
from . import init
from .base import Layer, empty_gradient
from .tail import Tail, take_gradient, take_over


class Conv2d(Layer):
    """Cross-correlation of images with learned kernels.

    Parameters
    ----------
    in_channels, out_channels : int
        C and O.
    kernel_size, stride, padding, dilation : int or (int, int)
        Vertical and horizontal.
    groups : int
        G: output channels of group g depend on the input channels of group g only; ``groups=in_channels`` is depthwise.
    bias : bool

    Raises
    ------
    UserError
        If the channels do not divide into the groups, a size is not positive, or (in ``forward``) the kernel is
        larger than the padded image.

    Notes
    -----
    x is (N, H, W, C), w (KH, KW, C/G, O), b (O,), y (N, OH, OW, O), with
    OH = (H + 2 padding - dilation (KH - 1) - 1) // stride + 1 and

        y[n, i, j, o] = b[o] + sum over k, l, c of x[n, i stride + k dilation - padding, ..., c] w[k, l, c, o].
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise UserError(
                f"{in_channels} input and {out_channels} output channels do not divide into {groups} groups"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.window = Window(
            pair(kernel_size, "kernel_size"),
            pair(stride, "stride"),
            pair(padding, "padding", least=0),
            pair(dilation, "dilation"),
        )
        kh, kw = self.window.kernel
        fan_in = in_channels // groups * kh * kw
        self.weight = Parameter((kh, kw, in_channels // groups, out_channels), init.lecun_uniform(fan_in))
        self.bias = Parameter((out_channels,), init.lecun_uniform(fan_in), decay=False) if bias else None
        self._plans: dict[Pair, Conv2dPlan] = {}

    def forward(self, x: np.ndarray, ctx: Context) -> np.ndarray:
        """Return x * w + b, at the end of a residual block with its sum and ReLU (``layers/tail.py``)."""
        return self.convolve(x, ctx, take_over(self, ctx))

    def convolve(self, x: np.ndarray, ctx: Context, tail: Tail | None, relu: bool = False) -> np.ndarray:
        """Return x * w + b, with the sum and ReLU of ``tail`` or with ``relu``."""
        y, plan = self._begin(x, ctx)
        w, b = self.weight.data, None if self.bias is None else self.bias.data
        residual, relu = (None, relu) if tail is None else tail
        if residual is None and not relu:
            ops.conv2d(x, w, b, y, plan)
        else:
            ops.conv2d_add_relu(x, w, b, residual, y, plan, relu)
        return y

    def ending(self) -> Layer | None:
        """Return itself; a subclass may compute something else."""
        return self if type(self) is Conv2d else None

    def forward_moments(self, x: np.ndarray, ctx: Context) -> tuple[np.ndarray, Moments | None]:
        """Return x * w + b, and the moments of its channels where they cost no pass."""
        y, plan = self._begin(x, ctx)
        b = None if self.bias is None else self.bias.data
        return y, conv2d_moments(x, self.weight.data, b, y, plan, partial(ctx.empty, self))

    def _begin(self, x: np.ndarray, ctx: Context) -> tuple[np.ndarray, Conv2dPlan]:
        """Keep x for backward; return memory for y, and the plan."""
        plan = self._plan(x)
        ctx[self] = x, plan
        return ctx.lend(self, "y", (len(x), *plan.output, self.out_channels)), plan

    def backward(self, dy: np.ndarray, ctx: Context) -> np.ndarray:
        """Write dw and db, or put them off; return dx."""
        x, plan = ctx[self]
        if ctx.later is None:
            self.put_gradients(x, dy, plan)
        elif self.trains:
            ctx.later.append(partial(self.put_gradients, x, dy, plan))
        if not self.needs_dx:
            return empty_gradient(dy)
        dx: np.ndarray = ctx.backward.lend(self, "dx", x.shape)
        self.write_dx(dy, dx, plan, take_gradient(self, ctx))
        return dx

    def write_dx(self, dy: np.ndarray, dx: np.ndarray, plan: Conv2dPlan, added: np.ndarray | None) -> None:
        """Write dx, to which ``added`` is added if it is given."""
        if added is None:
            conv2d_dx(dy, self.weight.data, dx, plan)
        else:
            conv2d_dx_add(dy, self.weight.data, added, dx, plan)

    def beginning(self) -> Layer | None:
        """Return itself; a subclass may compute something else."""
        return self if type(self) is Conv2d else None

    def part(self, shard: Shard) -> "Conv2d":
        """Return the Conv2d of some input channels (dimension 2 of w; without the bias), or of some outputs (3).

        Where groups are channels (depthwise), those of dimension 3 are both. Parameters are parts of these ones, with
        the initial values that they have in the whole layer.
        """
        inputs, outputs = shard.shape(self.weight.full_shape)[2:]
        depthwise = self.groups > 1
        if depthwise and not self.is_depthwise:
            raise ValueError("only a convolution of one group, or of a group for each channel, has parts")
        made = copy(self)
        made.in_channels, made.out_channels = outputs if depthwise else inputs, outputs
        made.groups, made._plans = outputs if depthwise else 1, {}
        made.weight = self.weight.part(shard)
        made.bias = None if self.bias is None or shard.dim == 2 else self.bias.part(replace(shard, dim=0))
        return made

    @property
    def is_depthwise(self) -> bool:
        """True if each output channel depends on one input channel of its own."""
        return self.groups == self.in_channels == self.out_channels

    def put_gradients(self, x: np.ndarray, dy: np.ndarray, plan: Conv2dPlan, with_bias: bool = True) -> None:
        """Write dw and, ``with_bias``, db, if they are trained."""
        if not self.weight.frozen:
            conv2d_dw(x, dy, self.weight.grad, plan, self.weight.accumulate)
            self.weight.written()
        if with_bias and self.bias is not None and not self.bias.frozen:
            conv2d_db(dy, self.bias.grad, self.bias.accumulate)
            self.bias.written()

    def _plan(self, x: np.ndarray) -> Conv2dPlan:
        """Return the plan for images of this size, made once."""
        if x.ndim != 4 or x.shape[3] != self.in_channels:
            raise UserError(f"a Conv2d of {self.in_channels} channels expects images (N, H, W, C), not {x.shape}")
        size = x.shape[1:3]
        if size not in self._plans:
            self._plans[size] = plan_conv2d(self.window, size, self.groups, self.in_channels, self.out_channels)
        return self._plans[size]
