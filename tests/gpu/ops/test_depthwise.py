"""Depthwise convolutions on what stands for a GPU, as ops: by which kernel, and as NumPy."""

import ml_dtypes
import numpy as np
import pytest

from mpitrain.kernels.catalogue import others
from mpitrain.ops.conv2d import conv2d, conv2d_dw, conv2d_dx, plan_conv2d
from mpitrain.ops.cuda.conv2d_depthwise import ANY, BUILT, DW, DX
from mpitrain.ops.window import Window
from tests.gpu.device import ShimDevice

CASES = [
    (Window((3, 3), padding=(1, 1)), 16, "conv2d_depthwise"),
    (Window((5, 5), (2, 2), (2, 2)), 8, "conv2d_depthwise_dx"),
    (Window((3, 2), (2, 1), (1, 1), (1, 3)), 6, "conv2d_depthwise_dx"),
]


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(("window", "channels", "dx_by"), CASES)
def test_against_numpy(window, channels, dx_by, bf16):
    device, rng = ShimDevice(), np.random.default_rng(3)
    kind = ml_dtypes.bfloat16 if bf16 else np.float32
    plan = plan_conv2d(window, (9, 8), channels, channels, channels)
    shapes = (3, 9, 8, channels), (*window.kernel, 1, channels), (3, *plan.output, channels)
    x, w, dy = (rng.standard_normal(shape).astype(ml_dtypes.bfloat16).astype(np.float32) for shape in shapes)
    b, y, dx = rng.standard_normal(channels).astype(np.float32), np.zeros_like(dy), np.zeros_like(x)
    calls = [
        (conv2d, (x, w, b), y, (), "conv2d_depthwise"),
        (conv2d_dx, (dy, w), dx, (), dx_by),
        (conv2d_dw, (x, dy), rng.standard_normal(w.shape).astype(np.float32), (True,), "conv2d_depthwise_dw"),
    ]
    for op, given, out, more, by in calls:
        is_filter = out.shape == w.shape
        arrays = [device.from_host(a.astype(kind) if a.ndim == 4 and a is not w else a) for a in given]
        result = device.from_host(out if is_filter else out.astype(kind))
        with device.counted() as found:
            op(*arrays, result, plan, *more)
        assert by in found["launches"], found
        op.numpy(*given, out, plan, *more)
        tolerance = 2**-8 if bf16 and not is_filter else 1e-4
        np.testing.assert_allclose(device.to_host(result).astype(np.float32), out, rtol=tolerance, atol=tolerance)


def test_all_are_built_ahead():
    ahead = {(each.file, each.macros) for each in others()}
    for built in (ANY, DX, DW, *BUILT.values()):
        assert {(each.file, each.macros) for each in built} <= ahead


def test_no_images():
    device, window = ShimDevice(), Window((3, 3), padding=(1, 1))
    plan = plan_conv2d(window, (4, 4), 8, 8, 8)
    x, w = device.zeros((0, 4, 4, 8)), device.zeros((3, 3, 1, 8))
    dw = device.from_host(np.ones((3, 3, 1, 8), np.float32))
    conv2d(x, w, None, x, plan)
    conv2d_dx(x, w, x, plan)
    conv2d_dw(x, x, dw, plan, True)
    assert (device.to_host(dw) == 1).all()
    conv2d_dw(x, x, dw, plan, False)
    assert (device.to_host(dw) == 0).all()
