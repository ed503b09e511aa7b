"""Convolution: the op, and the choice of the cheapest algorithm.

Shapes: x (N, H, W, C), w (KH, KW, C/G, O), b (O,), y (N, OH, OW, O); C-contiguous, one dtype. Any N, also 0.

A plan is made once for an image size (``plan_conv2d``). NumPy's algorithms are chosen by the cost model at the end,
whose constants were fitted to measurements on one core of an AMD EPYC (Zen 4) with OpenBLAS. Only their ratios matter,
and an error costs time, never correctness.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .batchnorm import Moments
from .conv2d_depthwise import Depthwise
from .conv2d_im2col import Im2col
from .conv2d_winograd import Winograd
from .dispatch import op
from .elementwise import add, add_relu, relu, relu_dx
from .gradient import Gradient
from .reduce import column_sum
from .window import Pair, Window
from .workspace import Keep, workspace

CHUNK = 512 * 1024  # elements gathered at a time: the size of the caches
DEPTHWISE_CHUNK = 32 * 1024


@dataclass(frozen=True)
class Conv2dPlan:
    """The algorithms for images of one size.

    Attributes
    ----------
    forward_plan : Im2col, Winograd or Depthwise
        Forward and dw.
    backward_plan : Im2col, Winograd or Depthwise
        dx. When ``flipped``, dx is itself a convolution, of dy with the weights rotated by 180 degrees and their
        channels swapped (stride 1 only); otherwise the columns are added back to the pixels they were gathered from.
    kernel : str
        The kernels in C: "conv2d", "conv2d_depthwise" or "conv2d_grouped" (also for dilation).
    numbers : tuple of int
        Their other arguments: stride and padding, then 1 for Winograd; or dilation; or dilation and groups.
    """

    forward_plan: Im2col | Winograd | Depthwise
    backward_plan: Im2col | Winograd | Depthwise
    flipped: bool
    groups: int
    kernel: str = "conv2d"
    numbers: tuple[int, ...] = ()

    @property
    def output(self) -> Pair:
        """(OH, OW)."""
        return self.forward_plan.output


@op
def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, plan: Conv2dPlan) -> None:
    """Write y = x * w + b (cross-correlation)."""
    plan.forward_plan.run(x, w, b, y)


@op
def conv2d_moments(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray, plan: Conv2dPlan, keep: Keep
) -> Moments | None:
    """Write y = x * w + b, and return the moments of its channels if they cost no pass over y: on a CPU they do."""
    conv2d(x, w, b, y, plan)
    return None


@op
def conv2d_add_relu(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    residual: np.ndarray | None,
    y: np.ndarray,
    plan: Conv2dPlan,
    has_relu: bool,
) -> None:
    """Write y = x * w + b + residual, with ``has_relu`` the maximum of that and 0; ``residual`` may be None."""
    conv2d(x, w, b, y, plan)
    finish(y, residual, has_relu)


def finish(y: np.ndarray, residual: np.ndarray | None, has_relu: bool) -> None:
    """Add ``residual`` to y, if there is one, and take the maximum with 0."""
    if residual is not None:
        (add_relu if has_relu else add)(y, residual, y)
    elif has_relu:
        relu(y, y)


@op
def conv2d_dw(x: np.ndarray, dy: np.ndarray, dw: np.ndarray, plan: Conv2dPlan, accumulate: bool) -> None:
    """Write (or add) the gradient of w."""
    plan.forward_plan.dw(x, dy, dw, accumulate)


@op
def conv2d_dx(dy: np.ndarray, w: np.ndarray, dx: np.ndarray, plan: Conv2dPlan) -> None:
    """Write the gradient of x."""
    if plan.flipped:
        plan.backward_plan.run(dy, _flip(w, plan.groups), None, dx)
    else:
        assert not isinstance(plan.backward_plan, Winograd), "Winograd's dx is a convolution"
        plan.backward_plan.dx(dy, w, dx)


@op
def conv2d_dx_add(dy: np.ndarray, w: np.ndarray, added: np.ndarray, dx: np.ndarray, plan: Conv2dPlan) -> None:
    """Write the gradient of x, plus ``added``."""
    conv2d_dx(dy, w, dx, plan)
    add(dx, added, dx)


@op
def conv2d_dx_relu(
    dy: np.ndarray, w: np.ndarray, x: np.ndarray, dx: np.ndarray, db: Gradient | None, plan: Conv2dPlan
) -> None:
    """Write the gradient of x where x > 0 and 0 elsewhere, and put db = its sum over images and pixels.

    Here x = max(z, 0), the result of the layer below; so dx is the gradient of z and db that of the bias in z.
    """
    conv2d_dx(dy, w, dx, plan)
    conv2d_db_relu(x, dx, db)


@op
def conv2d_db_relu(y: np.ndarray, dy: np.ndarray, db: Gradient | None) -> None:
    """Set dy to 0 where y <= 0, and put db = its sum over images and pixels."""
    relu_dx(y, dy, dy)
    if db is not None:
        conv2d_db(dy, db.array, db.accumulate)
        db.written()


@op
def conv2d_db(dy: np.ndarray, db: np.ndarray, accumulate: bool) -> None:
    """Write (or add) the sum of ``dy`` (N, OH, OW, O) over images and pixels: first over lines, then within one."""
    width, num_outputs = dy.shape[2:]
    line = np.empty(width * num_outputs, dy.dtype)
    column_sum(dy.reshape(-1, width * num_outputs), line, False)
    column_sum(line.reshape(width, num_outputs), db, accumulate)


def plan_conv2d(window: Window, size: Pair, groups: int, channels: int, num_outputs: int) -> Conv2dPlan:
    """Return the cheapest plan for images of ``size`` (H, W)."""
    plan = _plan_numpy(window, size, groups, channels, num_outputs)
    geometry = (*window.stride, *window.padding)
    if isinstance(plan.forward_plan, Depthwise):
        return replace(plan, kernel="conv2d_depthwise", numbers=(*geometry, *window.dilation))
    if groups > 1 or window.dilation != (1, 1):
        return replace(plan, kernel="conv2d_grouped", numbers=(*geometry, *window.dilation, groups))
    return replace(plan, numbers=(*geometry, _winograd_in_c(window, channels, num_outputs)))


def _winograd_in_c(window: Window, channels: int, num_outputs: int) -> int:
    """Return 1 where Winograd beats the direct sum in C: with few channels, its transforms cost what it saves."""
    simple = window.kernel == (3, 3) and window.stride == (1, 1) and max(window.padding) <= 2
    return int(simple and min(channels, num_outputs) >= 12)


def _plan_numpy(window: Window, size: Pair, groups: int, channels: int, num_outputs: int) -> Conv2dPlan:
    output = window.output(size)
    if groups == channels == num_outputs > 1:
        depthwise = Depthwise(window, size, max(1, DEPTHWISE_CHUNK // (output[0] * output[1] * channels)))
        return Conv2dPlan(depthwise, depthwise, False, groups)
    forward_plan, _ = _cheapest(window, size, groups, channels, num_outputs)
    scattered = _best(Im2col(window, size, groups), channels, num_outputs, _scatter_cost)
    rotated = _rotated(window)
    if rotated is not None:
        flipped, cost = _cheapest(rotated, output, groups, num_outputs, channels)
        if cost < _scatter_cost(scattered, channels, num_outputs):
            return Conv2dPlan(forward_plan, flipped, True, groups)
    return Conv2dPlan(forward_plan, scattered, False, groups)


def _rotated(window: Window) -> Window | None:
    """Return the window with which dy is convolved to give dx, if there is one."""
    padding = tuple(window.extent(dim) - 1 - window.padding[dim] for dim in (0, 1))
    if window.stride != (1, 1) or min(padding) < 0:
        return None
    return replace(window, padding=(padding[0], padding[1]))


def _flip(w: np.ndarray, groups: int) -> np.ndarray:
    """Return w (KH, KW, C/G, O) rotated by 180 degrees, channels swapped within each group: (KH, KW, O/G, C)."""
    kh, kw, per_group, num_outputs = w.shape
    out: np.ndarray = workspace(w, "flipped w", (kh, kw, num_outputs // groups, groups * per_group))
    split = w[::-1, ::-1].reshape(kh, kw, per_group, groups, num_outputs // groups)
    np.copyto(out.reshape(kh, kw, num_outputs // groups, groups, per_group), split.transpose(0, 1, 4, 3, 2))
    return out


def _cheapest(
    window: Window, size: Pair, groups: int, channels: int, num_outputs: int
) -> tuple[Im2col | Winograd, float]:
    """Return the cheapest algorithm for forward and its cost."""
    im2col = _best(Im2col(window, size, groups), channels, num_outputs, _gather_cost)
    cost = _gather_cost(im2col, channels, num_outputs)
    simple = (window.kernel, window.stride, window.dilation, groups) == ((3, 3), (1, 1), (1, 1), 1)
    if simple and max(window.padding) <= 2:
        winograd = Winograd(window, size)
        winograd_cost = _winograd_cost(winograd, channels, num_outputs)
        if winograd_cost < cost:
            tiles = winograd.tiles[0] * winograd.tiles[1]
            images = max(1, CHUNK // (36 * tiles * max(channels, num_outputs)))
            return replace(winograd, images=images), winograd_cost
    return im2col, cost


def _best(plain: Im2col, channels: int, num_outputs: int, cost: Callable[[Im2col, int, int], float]) -> Im2col:
    """Return ``plain`` with the cheapest block, and with as many images in a chunk as the cache holds."""
    width = plain.output[1]
    blocks = [1]
    if plain.groups == 1 and plain.window.dilation[1] == 1:
        blocks = [t for t in range(1, width + 1) if width % t == 0]
    best = min((replace(plain, block=t) for t in blocks), key=lambda c: cost(c, channels, num_outputs))
    return replace(best, images=max(1, CHUNK // best.columns_size(channels)))


def _product_cost(im2col: Im2col, channels: int, num_outputs: int) -> float:
    """Return the nanoseconds of the product for one image; vectors hold 16, so other widths leave lanes idle."""
    width = im2col.block * num_outputs // im2col.groups
    return im2col.columns_size(channels) * (width + -width % 16 / 2) * 2 / 114


def _gather_cost(im2col: Im2col, channels: int, num_outputs: int) -> float:
    """Return the nanoseconds to gather and multiply one image's columns: 3 per run, 0.15 per element."""
    size = im2col.columns_size(channels)
    copied = 0 if im2col.direct else 3 * size / im2col.gathered_run(channels) + 0.15 * size
    return copied + _product_cost(im2col, channels, num_outputs)


def _scatter_cost(im2col: Im2col, channels: int, num_outputs: int) -> float:
    """Return the nanoseconds to multiply for one image and add its columns back: 12 per run, 0.35 per element."""
    size = im2col.columns_size(channels)
    added = 12 * size / im2col.scattered_run(channels) + 0.35 * size
    return added + _product_cost(im2col, channels, num_outputs)


def _winograd_cost(winograd: Winograd, channels: int, num_outputs: int) -> float:
    """Return the nanoseconds for one image: 0.4 per element of a tile, transforms at 75 per nanosecond, products."""
    copied = 0.4 * (36 * channels + 16 * num_outputs)
    transformed = 36 * (36 * channels + 16 * num_outputs) * 2 / 75
    multiplied = 36 * channels * num_outputs * 2 / 114
    return winograd.tiles[0] * winograd.tiles[1] * (copied + transformed + multiplied)
