"""Comparison of the convolutions on a GPU with float64 NumPy, on images of the type that training has."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...kernels.check import TOLERANCE
from ...ops.conv2d import conv2d, conv2d_dw, conv2d_dx, plan_conv2d
from ...ops.window import Window


class Case(NamedTuple):
    """One convolution: x (N, H, W, C), a window, groups and output channels."""

    images: tuple[int, int, int, int]
    window: Window
    groups: int
    num_outputs: int


class Result(NamedTuple):
    """One of its three products: its error, relative to the largest result of absolute values, and the tolerance."""

    kind: str
    case: Case
    error: float
    tolerance: float

    @property
    def right(self) -> bool:
        """True if the error is within the tolerance; False for NaN."""
        return self.error <= self.tolerance


CASES = (
    Case((2, 9, 11, 64), Window((3, 3), (1, 1), (1, 1)), 1, 72),
    Case((3, 15, 14, 40), Window((3, 3), (2, 2), (1, 1)), 1, 24),
    Case((2, 12, 9, 72), Window((1, 1), (2, 2)), 1, 40),
    Case((1, 32, 30, 3), Window((7, 7), (2, 2), (3, 3)), 1, 64),
    Case((2, 10, 13, 18), Window((2, 4), (3, 4), (2, 3), (3, 2)), 3, 9),
    Case((2, 8, 8, 32), Window((3, 3), (1, 1), (1, 1)), 2, 48),
    Case((40, 7, 7, 16), Window((3, 3), (1, 1), (1, 1)), 1, 16),
    Case((4, 6, 12, 64), Window((3, 3), (1, 1), (1, 1)), 16, 64),
    Case((2, 9, 10, 24), Window((3, 3), (1, 1), (1, 1)), 24, 24),
)


def check_convolutions(device: Any, inputs: str, seed: int = 0) -> Iterator[Result]:
    """Yield the results of forward, dx and dw of every case, with the device's precision set to ``inputs``."""
    device.precision, before = inputs, device.precision
    try:
        for case in CASES:
            yield from _check(device, case, TOLERANCE[inputs], seed)
    finally:
        device.precision = before


def _check(device: Any, case: Case, tolerance: float, seed: int) -> Iterator[Result]:
    rng = np.random.default_rng(seed)
    (images, *size, channels), window = case.images, case.window
    plan = plan_conv2d(window, (size[0], size[1]), case.groups, channels, case.num_outputs)
    shapes = {
        "forward": (images, *plan.output, case.num_outputs),
        "dx": case.images,
        "dw": (*window.kernel, channels // case.groups, case.num_outputs),
    }
    types = {"forward": device.activation_dtype, "dx": device.activation_dtype, "dw": np.float32}
    x, w, dy = (rng.standard_normal(shapes[name], np.float32).astype(types[name]) for name in ("dx", "dw", "forward"))
    on = [device.from_host(array) for array in (x, w, dy)]
    wide = [array.astype(np.float64) for array in (x, w, dy)]
    for kind, shape in shapes.items():
        mine, exact, scale = device.empty(shape, types[kind]), np.empty(shape), np.empty(shape)
        _run(kind, False, on, mine, plan)
        _run(kind, True, wide, exact, plan)
        _run(kind, True, [np.abs(array) for array in wide], scale, plan)
        error = np.max(np.abs(device.to_host(mine) - exact)) / np.max(scale)
        yield Result(kind, case, float(error), tolerance)


def _run(kind: str, exactly: bool, arrays: list[Any], out: Any, plan: Any) -> None:
    x, w, dy = arrays
    if kind == "forward":
        (conv2d.numpy if exactly else conv2d)(x, w, None, out, plan)
    elif kind == "dx":
        (conv2d_dx.numpy if exactly else conv2d_dx)(dy, w, out, plan)
    else:
        (conv2d_dw.numpy if exactly else conv2d_dw)(x, dy, out, plan, False)
