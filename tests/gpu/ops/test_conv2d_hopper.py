"""Convolutions in bf16 on what stands for a Hopper GPU: by wgmma where it covers them, else by mma."""

import ml_dtypes
import numpy as np
import pytest

from mpitrain.device import CPU
from mpitrain.kernels import convolution_plan
from mpitrain.kernels.convolution_plan import TILES, choose_convolution, splits_of, takes
from mpitrain.kernels.planner import read_table
from mpitrain.ops import OPS
from mpitrain.ops.conv2d import conv2d, conv2d_add_relu, conv2d_dw, conv2d_dx, plan_conv2d
from mpitrain.ops.gradient import Gradient
from mpitrain.ops.window import Window
from tests.gpu.device import ShimDevice
from tests.gpu.training.job import Job
from tests.kernels.convolutions.cases import of

WGMMA = {"conv2d_wgmma", "conv2d_dw_wgmma"}
LINES = "conv2d_lines_wgmma"


def wgmma_first(conv, arch, num_processors, table, elementwise):
    """Choose wgmma, tap by tap, even where so small a convolution is faster by mma."""
    tiles = [tile for tile in TILES if takes(tile, conv, arch) and not (elementwise and tile.is_persistent)]
    tile = next((tile for tile in tiles if tile.is_persistent), tiles[0])
    return tile, splits_of(conv, tile, num_processors)[-1]


def lines_first(conv, arch, num_processors, table, elementwise):
    """Choose the kernel that goes line by line, where it covers a convolution."""
    tile = next((tile for tile in TILES if tile.kernel == LINES and takes(tile, conv, arch)), None)
    if tile is None or elementwise:
        return wgmma_first(conv, arch, num_processors, table, elementwise)
    return tile, 1


@pytest.mark.parametrize(
    ("channels", "window", "by_wgmma"),
    [
        ((64, 72), Window((3, 3), padding=(1, 1)), ("forward", "dx", "dw")),
        ((64, 64), Window((3, 3), (2, 2), (1, 1)), ("forward", "dx", "dw")),
        ((96, 40), Window((1, 1), (2, 2)), ("forward", "dx")),
        ((3, 64), Window((3, 3), padding=(1, 1)), ()),
    ],
    ids=str,
)
def test_against_numpy(channels, window, by_wgmma, monkeypatch):
    monkeypatch.setattr(convolution_plan, "choose_convolution", wgmma_first)
    device, rng, size = ShimDevice("sm_90a", num_processors=3), np.random.default_rng(2), (9, 8)
    device.precision = "bf16"
    plan = plan_conv2d(window, size, 1, *channels)
    shapes = (3, *size, channels[0]), (*window.kernel, *channels), (3, *window.output(size), channels[1])
    x, w, dy = (rng.standard_normal(shape).astype(ml_dtypes.bfloat16).astype(np.float32) for shape in shapes)
    b = rng.standard_normal(channels[1]).astype(np.float32)
    calls = {
        "forward": (conv2d, (x, w, b), np.zeros_like(dy), ()),
        "dx": (conv2d_dx, (dy, w), np.zeros_like(x), ()),
        "dw": (conv2d_dw, (x, dy), rng.standard_normal(w.shape).astype(np.float32), (True,)),
    }
    for name, (op, given, out, more) in calls.items():
        kept = np.float32 if name == "dw" else ml_dtypes.bfloat16
        images = [device.from_host(a.astype(ml_dtypes.bfloat16) if a.ndim == 4 else a) for a in given]
        result = device.from_host(out.astype(kept))
        with device.counted() as found:
            op(*images, result, plan, *more)
        assert bool(WGMMA & set(found["launches"])) == (name in by_wgmma), found
        op.numpy(*given, out, plan, *more)
        got = device.to_host(result).astype(np.float32)
        scale = np.abs(out).max()
        np.testing.assert_allclose(got, out, rtol=2**-8, atol=2**-9 * scale if name != "dw" else 1e-5 * scale)


@pytest.mark.parametrize(("arch", "kernel"), [("sm_90a", LINES), ("sm_80", "conv2d_mma")])
@pytest.mark.parametrize(("c", "o", "groups"), [(24, 40, 1), (64, 64, 8)])
@pytest.mark.parametrize("offset", [0, 3])
def test_lines_by_ops(arch, kernel, c, o, groups, offset, monkeypatch):
    """Forward, with a residual and dx of 3 x 3; images that do not begin at multiples of 16 bytes are left to mma."""
    if arch == "sm_90a":
        monkeypatch.setattr(convolution_plan, "choose_convolution", lines_first)
    convolution_plan.plan_convolution.cache_clear()
    device, rng = ShimDevice(arch, num_processors=3), np.random.default_rng(3)
    device.precision, plan = "bf16", plan_conv2d(Window((3, 3), padding=(1, 1)), (9, 8), groups, c, o)
    shapes = (3, 9, 8, c), (3, 3, c // groups, o), (3, 9, 8, o), (3, 9, 8, o)
    x, w, dy, residual = (rng.standard_normal(shape).astype(ml_dtypes.bfloat16) for shape in shapes)
    b = rng.standard_normal(o).astype(np.float32)
    for op, given, shape, more in (
        (conv2d, (x, w, b), dy.shape, ()),
        (conv2d_add_relu, (x, w, b, residual), dy.shape, (True,)),
        (conv2d_dx, (dy, w), x.shape, ()),
    ):
        exact = np.empty(shape, np.float32)
        op.numpy(*(a.astype(np.float32) for a in given), exact, plan, *more)
        out = device.empty((exact.size + offset,), ml_dtypes.bfloat16)[offset:].reshape(shape)
        with device.counted() as found:
            op(*(device.from_host(a) for a in given), out, plan, *more)
        got = {name: count for name, count in found["launches"].items() if name.startswith("conv2d")}
        assert got == {"conv2d_mma" if offset else kernel: 1}
        np.testing.assert_allclose(device.to_host(out).astype(np.float32), exact, rtol=2**-7, atol=2**-7)
    convolution_plan.plan_convolution.cache_clear()


@pytest.mark.parametrize("batch", [32, 256])
def test_resnet50_is_planned_for_wgmma(batch):
    """Layers of 3x3, in all three products."""
    for size, channels, stride in ((56, 64, 1), (56, 128, 2), (28, 128, 1), (28, 256, 2), (14, 256, 1), (7, 512, 1)):
        for kind in ("forward", "dx", "dw"):
            types = {"inputs": "bf16", "outputs": "fp32" if kind == "dw" else "bf16"}
            conv = of(kind, batch, (size, size), channels, channels, (3, 3), (stride, stride), (1, 1), **types)
            tile, _ = choose_convolution(conv, "sm_90a", 132, read_table())
            by_lines = channels == 64 or (channels, stride, batch) == (128, 1, 256)
            assert tile.kernel == (LINES if by_lines and kind != "dw" else "conv2d_wgmma"), conv


def test_training_by_lines(monkeypatch):
    """Two steps of resnet20's blocks in bf16: losses near those of fp32 on the CPU, moments for batch normalization."""
    convolution_plan.plan_convolution.cache_clear()
    monkeypatch.setattr(convolution_plan, "choose_convolution", lines_first)
    device = ShimDevice("sm_90a", num_processors=3)
    device.precision = "bf16"
    ours, exact = (Job("resnet8", where, batch=8) for where in (device, CPU))
    with device.counted() as found:
        losses = [ours.step() for _ in range(2)]
    np.testing.assert_allclose(losses, [exact.step() for _ in range(2)], rtol=0.05)
    assert found["launches"][LINES] == 2 * (4 + 4), "forward and dx, of stride 1"
    convolution_plan.plan_convolution.cache_clear()


def test_training_by_wgmma(monkeypatch):
    """Two steps of a residual network in bf16: losses near those of fp32 on the CPU."""
    monkeypatch.setattr(convolution_plan, "choose_convolution", wgmma_first)
    device, options = ShimDevice("sm_90a", num_processors=3), {"blocks": (1, 1), "widths": (64, 64), "stem": 64}
    device.precision = "bf16"
    ours, exact = (Job("resnet18", where, batch=2, **options) for where in (device, CPU))
    with device.counted() as found:
        losses = [ours.step() for _ in range(2)]
    np.testing.assert_allclose(losses, [exact.step() for _ in range(2)], rtol=0.05)
    assert found["launches"]["conv2d_dw_wgmma"] == 2 * 5, "all but the first layer, which has 3 channels"
    assert found["launches"]["conv2d_wgmma"] == 2 * (5 + 5), "forward and dx"


@pytest.mark.parametrize(
    "window", [Window((3, 3), padding=(1, 1)), Window((3, 3), (2, 2), (1, 1)), Window((1, 1))], ids=str
)
def test_epilogues_against_numpy(window, monkeypatch):
    """Sums and ReLUs after a convolution, and a ReLU before it, with sums of 64 rows for the gradient of a bias."""
    monkeypatch.setattr(convolution_plan, "choose_convolution", lambda *given: (wgmma_first(*given)[0], 1))
    convolution_plan.plan_convolution.cache_clear()
    device, rng, size = ShimDevice("sm_90a", num_processors=3), np.random.default_rng(3), (9, 8)
    device.precision = "bf16"
    plan = plan_conv2d(window, size, 1, 64, 72)
    x_shape, y_shape = (3, *size, 64), (3, *window.output(size), 72)
    shapes = x_shape, (*window.kernel, 64, 72), y_shape, y_shape, x_shape
    x, w, dy, residual, added = (
        rng.standard_normal(shape).astype(ml_dtypes.bfloat16).astype(np.float32) for shape in shapes
    )
    b, db = rng.standard_normal(72).astype(np.float32), np.zeros(64, np.float32)
    calls = {
        "conv2d_add_relu": ((x, w, b, residual), y_shape, (True,)),
        "conv2d_dx_add": ((dy, w, added), x_shape, ()),
        "conv2d_dx_relu": ((dy, w, x), x_shape, ()),
    }
    for name, (given, shape, more) in calls.items():
        kept = [a if a is w or a is b else a.astype(ml_dtypes.bfloat16) for a in given]
        images = list(map(device.from_host, kept))
        out, found = np.zeros(shape, np.float32), device.empty(shape, ml_dtypes.bfloat16)
        mine, theirs = device.from_host(db), db.copy()
        sums = [(Gradient(each, True),) if name == "conv2d_dx_relu" else () for each in (mine, theirs)]
        OPS[name](*images, found, *sums[0], plan, *more)
        OPS[name].numpy(*given, out, *sums[1], plan, *more)
        got, scale = device.to_host(found).astype(np.float32), np.abs(out).max()
        np.testing.assert_allclose(got, out, rtol=2**-8, atol=2**-9 * scale, err_msg=name)
        np.testing.assert_allclose(device.to_host(mine), theirs, rtol=1e-3, atol=2**-7 * scale, err_msg=name)
    assert window.kernel == (1, 1) or device.launches["conv2d_wgmma"], device.launches
    convolution_plan.plan_convolution.cache_clear()
