"""Convolution: which way to compute it.

Shapes: x (N, H, W, C), w (KH, KW, C/G, O), b (O,), y (N, OH, OW, O); C-contiguous, one dtype. Any N, also 0.
``plan`` comes from ``plan_conv2d``, and ``buffer(name, shape)`` gives memory that may be reused after the call.

A plan is made once for an image size. NumPy's ways are chosen by the cost model at the end, whose constants were fitted
to measurements on one core of an AMD EPYC (Zen 4) with OpenBLAS; only their ratios matter, and being wrong costs time,
never correctness.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .conv2d_columns import Columns
from .conv2d_depthwise import Depthwise
from .conv2d_winograd import Winograd
from .dispatch import op
from .linear import column_sum
from .product import Buffer
from .window import Pair, Window

CHUNK = 512 * 1024  # elements gathered at a time: what the caches hold
DEPTHWISE_CHUNK = 32 * 1024


@dataclass(frozen=True)
class Conv2dPlan:
    """How images of one size are convolved.

    Attributes
    ----------
    ahead : Columns, Winograd or Depthwise
        Forward and dw.
    back : Columns, Winograd or Depthwise
        dx. When ``flipped``, dx is itself a convolution, of dy with the weights turned by 180 degrees and their
        channels swapped (stride 1 only); otherwise what was gathered from pixels is added back to them.
    kernel : str
        Which native kernels: "conv2d", "conv2d_depthwise" or "conv2d_grouped" (and dilated).
    native : tuple of int
        What they are told: stride and padding, then 1 for Winograd; or dilation; or dilation and groups.
    """

    ahead: Columns | Winograd | Depthwise
    back: Columns | Winograd | Depthwise
    flipped: bool
    groups: int
    kernel: str = "conv2d"
    native: tuple[int, ...] = ()

    @property
    def output(self) -> Pair:
        """(OH, OW)."""
        return self.ahead.output


@op
def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, plan: Conv2dPlan, buffer: Buffer) -> None:
    """Write y = x * w + b (cross-correlation)."""
    plan.ahead.forward(x, w, b, y, buffer)


@op
def conv2d_dw(
    x: np.ndarray, dy: np.ndarray, dw: np.ndarray, plan: Conv2dPlan, accumulate: bool, buffer: Buffer
) -> None:
    """Write (or add) the gradient of w."""
    plan.ahead.dw(x, dy, dw, accumulate, buffer)


@op
def conv2d_dx(dy: np.ndarray, w: np.ndarray, dx: np.ndarray, plan: Conv2dPlan, buffer: Buffer) -> None:
    """Write the gradient of x."""
    if plan.flipped:
        plan.back.forward(dy, _flip(w, plan.groups, buffer), None, dx, buffer)
    else:
        assert not isinstance(plan.back, Winograd), "Winograd's dx is a convolution"
        plan.back.dx(dy, w, dx, buffer)


def plan_conv2d(window: Window, size: Pair, groups: int, channels: int, num_outputs: int) -> Conv2dPlan:
    """Return the cheapest way to compute a convolution of images of ``size`` (H, W)."""
    plan = _plan_numpy(window, size, groups, channels, num_outputs)
    geometry = (*window.stride, *window.padding)
    if isinstance(plan.ahead, Depthwise):
        return replace(plan, kernel="conv2d_depthwise", native=(*geometry, *window.dilation))
    if groups > 1 or window.dilation != (1, 1):
        return replace(plan, kernel="conv2d_grouped", native=(*geometry, *window.dilation, groups))
    return replace(plan, native=(*geometry, _native_winograd(window, channels, num_outputs)))


def _native_winograd(window: Window, channels: int, num_outputs: int) -> int:
    """Return 1 where the native Winograd beats the native direct way: its transforms cost what few channels save."""
    simple = window.kernel == (3, 3) and window.stride == (1, 1) and max(window.padding) <= 2
    return int(simple and min(channels, num_outputs) >= 12)


def _plan_numpy(window: Window, size: Pair, groups: int, channels: int, num_outputs: int) -> Conv2dPlan:
    output = window.output(size)
    if groups == channels == num_outputs > 1:
        depthwise = Depthwise(window, size, max(1, DEPTHWISE_CHUNK // (output[0] * output[1] * channels)))
        return Conv2dPlan(depthwise, depthwise, False, groups)
    ahead, _ = _cheapest(window, size, groups, channels, num_outputs)
    back = _best(Columns(window, size, groups), channels, num_outputs, _scatter_cost)
    turned = _turned(window)
    if turned is not None:
        again, cost = _cheapest(turned, output, groups, num_outputs, channels)
        if cost < _scatter_cost(back, channels, num_outputs):
            return Conv2dPlan(ahead, again, True, groups)
    return Conv2dPlan(ahead, back, False, groups)


@op
def conv2d_db(dy: np.ndarray, db: np.ndarray, accumulate: bool) -> None:
    """Write (or add) the sum of ``dy`` (N, OH, OW, O) over images and pixels: first over lines, then within one."""
    width, num_outputs = dy.shape[2:]
    line = np.empty(width * num_outputs, dy.dtype)
    column_sum(dy.reshape(-1, width * num_outputs), line, False)
    column_sum(line.reshape(width, num_outputs), db, accumulate)


def _turned(window: Window) -> Window | None:
    """Return the window with which dy is convolved to give dx, if there is one."""
    padding = tuple(window.extent(dim) - 1 - window.padding[dim] for dim in (0, 1))
    if window.stride != (1, 1) or min(padding) < 0:
        return None
    return replace(window, padding=(padding[0], padding[1]))


def _flip(w: np.ndarray, groups: int, buffer: Buffer) -> np.ndarray:
    """Return w (KH, KW, C/G, O) turned by 180 degrees with its channels swapped within each group, (KH, KW, O/G, C)."""
    kh, kw, per_group, num_outputs = w.shape
    out = buffer("flipped w", (kh, kw, num_outputs // groups, groups * per_group))
    split = w[::-1, ::-1].reshape(kh, kw, per_group, groups, num_outputs // groups)
    np.copyto(out.reshape(kh, kw, num_outputs // groups, groups, per_group), split.transpose(0, 1, 4, 3, 2))
    return out


def _cheapest(
    window: Window, size: Pair, groups: int, channels: int, num_outputs: int
) -> tuple[Columns | Winograd, float]:
    """Return the cheapest way forward and its cost."""
    columns = _best(Columns(window, size, groups), channels, num_outputs, _gather_cost)
    cost = _gather_cost(columns, channels, num_outputs)
    simple = (window.kernel, window.stride, window.dilation, groups) == ((3, 3), (1, 1), (1, 1), 1)
    if simple and max(window.padding) <= 2:
        winograd = Winograd(window, size)
        winograd_cost = _winograd_cost(winograd, channels, num_outputs)
        if winograd_cost < cost:
            tiles = winograd.tiles[0] * winograd.tiles[1]
            images = max(1, CHUNK // (36 * tiles * max(channels, num_outputs)))
            return replace(winograd, images=images), winograd_cost
    return columns, cost


def _best(plain: Columns, channels: int, num_outputs: int, cost: Callable[[Columns, int, int], float]) -> Columns:
    """Return ``plain`` with the block that costs least and as many images in a chunk as the cache holds."""
    width = plain.output[1]
    blocks = [1]
    if plain.groups == 1 and plain.window.dilation[1] == 1:
        blocks = [t for t in range(1, width + 1) if width % t == 0]
    best = min((replace(plain, block=t) for t in blocks), key=lambda c: cost(c, channels, num_outputs))
    return replace(best, images=max(1, CHUNK // best.columns_size(channels)))


def _product_cost(columns: Columns, channels: int, num_outputs: int) -> float:
    """Return the nanoseconds of the product for one image; vectors hold 16, so other widths leave lanes idle."""
    width = columns.block * num_outputs // columns.groups
    return columns.columns_size(channels) * (width + -width % 16 / 2) * 2 / 114


def _gather_cost(columns: Columns, channels: int, num_outputs: int) -> float:
    """Return the nanoseconds to gather the columns of one image and multiply them: 3 a run, 0.15 an element."""
    size = columns.columns_size(channels)
    copied = 0 if columns.direct else 3 * size / columns.gathered_run(channels) + 0.15 * size
    return copied + _product_cost(columns, channels, num_outputs)


def _scatter_cost(columns: Columns, channels: int, num_outputs: int) -> float:
    """Return the nanoseconds to multiply for one image and add the columns back: 12 a run, 0.35 an element."""
    size = columns.columns_size(channels)
    added = 12 * size / columns.scattered_run(channels) + 0.35 * size
    return added + _product_cost(columns, channels, num_outputs)


def _winograd_cost(winograd: Winograd, channels: int, num_outputs: int) -> float:
    """Return the nanoseconds for one image: 0.4 an element of a tile, transforms at 75 a nanosecond, the products."""
    copied = 0.4 * (36 * channels + 16 * num_outputs)
    transformed = 36 * (36 * channels + 16 * num_outputs) * 2 / 75
    multiplied = 36 * channels * num_outputs * 2 / 114
    return winograd.tiles[0] * winograd.tiles[1] * (copied + transformed + multiplied)
