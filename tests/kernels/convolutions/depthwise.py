"""Depthwise convolutions run by the kernels, with float64 NumPy as the oracle."""

from dataclasses import dataclass, replace

import numpy as np

from mpitrain.kernels.divide import divide_record
from mpitrain.ops.conv2d_depthwise import Depthwise
from mpitrain.ops.cuda.launch import window_record
from mpitrain.ops.window import Window
from tests.kernels import cpu
from tests.kernels.arrays import NULL, Elements, i32, launch


@dataclass(frozen=True)
class Case:
    """Images of ``size`` and ``channels``; ``kernel`` is 0 for any window."""

    window: Window
    size: tuple[int, int]
    channels: int
    images: int = 2
    kernel: int = 0
    bf16: int = 0
    bias: bool = True
    seed: int = 0

    @property
    def shapes(self):
        x = self.images, *self.size, self.channels
        return x, (*self.window.kernel, 1, self.channels), (self.images, *self.window.output(self.size), self.channels)

    def macros(self, flip: int = 0) -> dict[str, int]:
        stride = self.window.stride[0] if self.kernel else 1
        return {"ELEMENT_BF16": self.bf16, "KERNEL": self.kernel, "STRIDE": stride, "FLIP": flip}


def forward(case: Case, edit=None) -> None:
    """Run and compare y."""
    arrays, (x_shape, w_shape, y_shape) = Elements(case.bf16, case.seed), case.shapes
    (x, x_value), y = arrays.draw(*x_shape), arrays.room(*y_shape)
    w, b = _parameters(arrays, w_shape, case)
    kernels = cpu.build("conv2d_depthwise.cu", edit, **case.macros())
    _launch(
        kernels,
        "conv2d_depthwise",
        x,
        w,
        b if case.bias else NULL,
        y,
        window_record(case.window, x, piece=4),
        seed=case.seed,
    )
    expected = np.empty(y_shape)
    Depthwise(case.window, case.size).run(x_value, np.float64(w), np.float64(b) if case.bias else None, expected)
    arrays.check(y, expected, 10)


def dx(case: Case, edit=None) -> None:
    """Run and compare dx: flipped where the filter is built for a size, else gathered."""
    arrays, (x_shape, w_shape, y_shape) = Elements(case.bf16, case.seed), case.shapes
    (dy, dy_value), found = arrays.draw(*y_shape), arrays.room(*x_shape)
    w, _ = _parameters(arrays, w_shape, case)
    if case.kernel:
        padding = tuple(k - 1 - p for k, p in zip(case.window.kernel, case.window.padding))
        kernels = cpu.build("conv2d_depthwise.cu", edit, **case.macros(flip=1))
        record = window_record(replace(case.window, padding=padding), dy, piece=4)
        _launch(kernels, "conv2d_depthwise", dy, w, NULL, found, record, seed=case.seed)
    else:
        kernels = cpu.build("conv2d_depthwise_gradients.cu", edit, ELEMENT_BF16=case.bf16)
        _launch(
            kernels, "conv2d_depthwise_dx", dy, w, found, window_record(case.window, found, piece=4), seed=case.seed
        )
    expected = np.empty(x_shape)
    Depthwise(case.window, case.size).dx(dy_value, np.float64(w), expected)
    arrays.check(found, expected, 10)


def dw(case: Case, parts: int = 3, lines: int = 2, edit=None) -> None:
    """Run and compare the sum of the parts."""
    arrays, (x_shape, w_shape, y_shape) = Elements(case.bf16, case.seed), case.shapes
    (x, x_value), (dy, dy_value) = arrays.draw(*x_shape), arrays.draw(*y_shape)
    taps, strips = w_shape[0] * w_shape[1], -(-y_shape[1] // lines)
    partials = arrays.room(parts, taps, case.channels, dtype=np.float32)
    built = case.kernel if case.window.stride == (1, 1) else 0
    piece = 2 if built == 5 and not case.bf16 else 4
    kernels = cpu.build("conv2d_depthwise_gradients.cu", edit, ELEMENT_BF16=case.bf16, KERNEL=built)
    arguments = x, dy, partials, window_record(case.window, x, piece=piece), divide_record(strips), i32(lines)
    grid, block = (-(-case.channels // (8 * piece)), parts, 1 if built else -(-taps // 9)), (8, 32, 1)
    launch(kernels, "conv2d_depthwise_dw", *arguments, grid=grid, block=block, seed=case.seed)
    expected = np.empty(w_shape)
    Depthwise(case.window, case.size).dw(x_value, dy_value, expected, False)
    found = partials.sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-4, atol=1e-4)
    arrays.check_guards()


def _parameters(arrays: Elements, shape, case: Case) -> tuple[np.ndarray, np.ndarray]:
    w, b = arrays.room(*shape, dtype=np.float32), arrays.room(case.channels, dtype=np.float32)
    w[...], b[...] = arrays.rng.standard_normal(shape), arrays.rng.standard_normal(case.channels)
    return w, b


def _launch(kernels, name, *arguments, seed) -> None:
    launch(kernels, name, *arguments, grid=(2, 2, 2), block=(16, 4, 1), seed=seed)
