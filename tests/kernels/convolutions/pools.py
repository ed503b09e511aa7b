"""Pools run by the kernels for windows of a known size, with float64 NumPy as the oracle."""

import math
from dataclasses import dataclass

import numpy as np

from mpitrain.ops import OPS
from mpitrain.ops.cuda.launch import window_record
from mpitrain.ops.window import Window
from tests.kernels import cpu
from tests.kernels.arrays import NULL, Elements, f32, i32, launch


@dataclass(frozen=True)
class Case:
    """Images of ``size``, with ``pieces`` of 16 bytes of channels, under a square window."""

    window: Window
    size: tuple[int, int]
    pieces: int = 2
    images: int = 2
    bf16: int = 0
    relu: int = 0
    seed: int = 0

    @property
    def macros(self):
        return {"ELEMENT_BF16": self.bf16, "KERNEL": self.window.kernel[0], "STRIDE": self.window.stride[0]}


def largest(case: Case, edit=None) -> None:
    """Run and compare y, argmax and dx; some neighbors are equal, and some are minus infinity."""
    kernels, elements = cpu.build("pool.cu", edit, **case.macros), Elements(case.bf16, case.seed)
    x, dy, y, dx, record = arrays(case, elements)
    x[:, 1::2] = x[:, : x.shape[1] - 1 : 2]  # the first of two lines that are equal has to be found
    x[0, 0, 0] = elements.dtype(0xFF80) if case.bf16 else -np.inf
    argmax = elements.room(*y.shape, dtype=np.uint8)
    _launch(kernels, "max_pool", x, y, argmax, i32(case.relu), record, seed=case.seed)
    expected, taps, slopes = np.empty(y.shape), np.empty(y.shape, np.uint8), np.empty(x.shape)
    OPS["max_pool_argmax"].numpy(elements.value(x), case.window, expected, taps, bool(case.relu))
    elements.check(y, expected)
    seen = np.isfinite(expected)  # else no pixel is above minus infinity, and any tap will do
    np.testing.assert_array_equal(argmax[seen], taps[seen])
    _launch(kernels, "max_pool_dx", argmax, dy, dx, record, seed=case.seed)
    OPS["max_pool_dx"].numpy(argmax, elements.value(dy), case.window, slopes)
    elements.check(dx, slopes, scale=2)
    y[...] = 0
    _launch(kernels, "max_pool", x, y, NULL, i32(case.relu), record, seed=case.seed)
    elements.check(y, expected)


def mean(case: Case, edit=None) -> None:
    """Run and compare y and dx."""
    kernels, elements = cpu.build("pool.cu", edit, **case.macros), Elements(case.bf16, case.seed)
    x, dy, y, dx, record = arrays(case, elements)
    part, expected, slopes = f32(1 / math.prod(case.window.kernel)), np.empty(y.shape), np.empty(x.shape)
    _launch(kernels, "mean_pool", x, y, part, record, seed=case.seed)
    OPS["mean_pool"].numpy(elements.value(x), case.window, expected)
    elements.check(y, expected, scale=2)
    _launch(kernels, "mean_pool_dx", dy, dx, part, record, seed=case.seed)
    OPS["mean_pool_dx"].numpy(elements.value(dy), case.window, slopes)
    elements.check(dx, slopes, scale=2)


def arrays(case: Case, elements: Elements):
    channels = case.pieces * (8 if case.bf16 else 4)
    x, _ = elements.draw(case.images, *case.size, channels)
    dy, _ = elements.draw(case.images, *case.window.output(case.size), channels)
    return x, dy, elements.room(*dy.shape), elements.room(*x.shape), window_record(case.window, x)


def _launch(kernels, name, *arguments, seed) -> None:
    launch(kernels, name, *arguments, grid=(2, 2, 2), block=(5, 2, 1), seed=seed)
