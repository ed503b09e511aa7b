"""The geometry of convolutions on a GPU: products of gathered images, by what their record says, against the op."""

from functools import cache

import numpy as np
import pytest

from mpitrain.kernels.convolution import RECORD, Axis, Convolution, geometry
from mpitrain.kernels.gemm import RECORD as GEMM
from mpitrain.ops.conv2d import conv2d, conv2d_dw, conv2d_dx, plan_conv2d
from mpitrain.ops.window import Window

CASES = [
    Convolution("forward", 2, (7, 9), 4, 6, (3, 3), (1, 1), (1, 1)),
    Convolution("forward", 2, (8, 7), 4, 6, (3, 2), (2, 2), (1, 0), groups=2),
    Convolution("forward", 1, (9, 10), 3, 5, (1, 1), (2, 2)),
    Convolution("forward", 2, (10, 13), 6, 9, (2, 4), (3, 4), (2, 3), (3, 2), groups=3),
    Convolution("forward", 1, (16, 9), 2, 4, (4, 3), (4, 2), (3, 1), (6, 3)),
    Convolution("forward", 1, (6, 6), 2, 3, (2, 2), (5, 5), (4, 0)),
]


def gathered(images: np.ndarray, vertical: Axis, horizontal: Axis) -> np.ndarray:
    """Return A (N, positions, positions, taps, taps, channels): zeros where a tap sees no pixel."""
    n, height, width, channels = images.shape
    shape = n, vertical.positions, horizontal.positions, vertical.taps, horizontal.taps, channels
    a = np.zeros(shape)
    for i, j, k, m in np.ndindex(shape[1:5]):
        h = i * vertical.scale + vertical.first + k * vertical.step
        w = j * horizontal.scale + horizontal.first + m * horizontal.step
        if 0 <= h < height and 0 <= w < width:
            a[:, i, j, k, m] = images[:, h, w]
    return a


def places(axis: Axis) -> np.ndarray:
    return axis.first_place + axis.place_step * np.arange(axis.positions)


def used(axis: Axis) -> np.ndarray:
    return axis.first_tap + axis.tap_step * np.arange(axis.taps)


@cache
def arrays(case: Convolution):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((case.images, *case.size, case.channels))
    w = rng.standard_normal((*case.kernel, case.channels // case.groups, case.num_outputs))
    window = Window(case.kernel, case.stride, case.padding, case.dilation)
    plan = plan_conv2d(window, case.size, case.groups, case.channels, case.num_outputs)
    y = np.empty((case.images, *case.output, case.num_outputs))
    conv2d.numpy(x, w, None, y, plan)
    dy = rng.standard_normal(y.shape)
    dx, dw = np.empty_like(x), np.empty_like(w)
    conv2d_dx.numpy(dy, w, dx, plan)
    conv2d_dw.numpy(x, dy, dw, plan, False)
    return x, w, y, dy, dx, dw


def group(array: np.ndarray, case: Convolution, number: int) -> np.ndarray:
    return np.split(array, case.groups, axis=-1)[number]


@pytest.mark.parametrize("kind", ["forward", "dx", "dw"])
@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_products_of_gathered_images(case, kind):
    x, w, y, dy, dx, dw = arrays(case)
    conv = Convolution(kind, *list(vars(case).values())[1:])
    found = np.full_like({"forward": y, "dx": dx, "dw": dw}[kind], np.nan)
    for classes in conv.classes():
        assert len(geometry(conv, classes)) == RECORD.itemsize - GEMM.itemsize
        assert len(classes.vertical) <= 2
        assert len(classes.horizontal) <= 2
        for vertical, horizontal in classes.each():
            to = np.ix_(range(conv.images), places(vertical), places(horizontal), range(found.shape[3]))
            taps = w[np.ix_(used(vertical), used(horizontal))]
            for number in range(case.groups):
                filters = group(taps, case, number)
                a = gathered(group(dy if kind == "dx" else x, case, number), vertical, horizontal)
                if kind == "forward":
                    group(found, case, number)[:] = np.einsum("nijklc,klco->nijo", a, filters)
                elif kind == "dw":
                    group(found, case, number)[:] = np.einsum("nijklc,nijo->klco", a, group(dy, case, number))
                else:
                    result = found[to]
                    group(result, case, number)[:] = np.einsum("nijklo,klco->nijc", a, filters)
                    found[to] = result
            shape = conv.shape(classes)
            if kind != "dw":
                assert shape.m >= conv.images * vertical.positions * horizontal.positions
                assert shape.k >= vertical.taps * horizontal.taps * conv.depth
    np.testing.assert_allclose(found, {"forward": y, "dx": dx, "dw": dw}[kind], rtol=1e-12, atol=1e-12)
