"""Convolutions that gather while they multiply, as ops launch them, on the device that stands for a GPU."""

from dataclasses import replace

import numpy as np
import pytest

from mpitrain.cli.kernel import check_convolutions
from mpitrain.cli.kernel.check import CheckOptions, check_on
from mpitrain.cli.kernel.check_convolutions import CASES
from mpitrain.device import bfloat16
from mpitrain.kernels import planner
from mpitrain.kernels.convolution import Convolution
from mpitrain.kernels.convolution_plan import convolution_key, plan_convolution
from mpitrain.ops import OPS
from mpitrain.ops.conv2d import plan_conv2d
from mpitrain.ops.cuda import conv2d as path
from tests.gpu.device import ShimDevice

GATHERING = {"conv2d_simt", "conv2d_mma", "conv2d_wgmma"}


def draw(case, batch=None, seed=0):
    """Return x, w, b, dy and the plan."""
    (images, *size, channels), window = case.images, case.window
    images = images if batch is None else batch
    plan = plan_conv2d(window, tuple(size), case.groups, channels, case.num_outputs)
    rng = np.random.default_rng(seed)
    shapes = (images, *size, channels), (*window.kernel, channels // case.groups, case.num_outputs)
    shapes += (case.num_outputs,), (images, *plan.output, case.num_outputs)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes], plan


def run(device, arrays, plan, activations=np.float32, accumulate=False):
    """Return y, dx and dw as float64."""
    x, w, b, dy = (device.from_host(array) for array in arrays)
    x, dy = x.astype(activations), dy.astype(activations)
    y, dx, dw = device.empty(dy.shape, activations), device.empty(x.shape, activations), device.empty(w.shape)
    dw.fill(1.0)
    OPS["conv2d"](x, w, b, y, plan)
    OPS["conv2d_dx"](dy, w, dx, plan)
    OPS["conv2d_dw"](x, dy, dw, plan, accumulate)
    return [np.float64(device.to_host(found).astype(np.float32)) for found in (y, dx, dw)]


@pytest.mark.parametrize("activations", ["fp32", "bf16"])
@pytest.mark.parametrize("case", CASES[:-1], ids=range(len(CASES) - 1))  # the last one is depthwise
def test_as_by_columns(monkeypatch, case, activations):
    """The reference, in whose products columns lie in memory, is still there and gives the same."""
    arrays, plan = draw(case)
    dtype = bfloat16() if activations == "bf16" else np.float32
    found = []
    for implicit in (True, False):
        monkeypatch.setattr(path, "IMPLICIT", implicit)
        device = ShimDevice()
        device.precision = activations
        found.append(run(device, arrays, plan, dtype, accumulate=True))
        assert bool(GATHERING & set(device.launches)) == implicit
        assert ("im2col" in device.launches) != implicit
    for ours, reference in zip(*found):
        scale = np.abs(reference).max()
        assert np.abs(ours - reference).max() <= (2e-2 if activations == "bf16" else 1e-5) * scale


@pytest.mark.parametrize("activations", ["fp32", "bf16"])
def test_no_images(activations):
    """A rank whose part of the batch is empty: dw is zero, or what it was."""
    arrays, plan = draw(CASES[0], batch=0)
    dtype = bfloat16() if activations == "bf16" else np.float32
    for accumulate in (False, True):
        y, dx, dw = run(ShimDevice(), arrays, plan, dtype, accumulate)
        assert y.size == dx.size == 0
        assert (dw == accumulate).all()


def test_arrays_off_the_alignment_of_copies():
    """Images and filters in the middle of larger memory, as parts of an arena are."""
    (x, w, b, dy), plan = draw(CASES[0])
    device = ShimDevice()
    device.precision = "tf32"
    held = []
    for array in (x, w, dy):
        room = device.empty((array.size + 1,))
        room[1:] = device.from_host(array.reshape(-1))
        held.append(room[1:].reshape(array.shape))
    found = [device.empty(shape) for shape in (dy.shape, x.shape, w.shape)]
    OPS["conv2d"](held[0], held[1], device.from_host(b), found[0], plan)
    OPS["conv2d_dx"](held[2], held[1], found[1], plan)
    OPS["conv2d_dw"](held[0], held[2], found[2], plan, False)
    for ours, aligned in zip(found, run(device, (x, w, b, dy), plan), strict=True):
        np.testing.assert_allclose(device.to_host(ours), aligned, rtol=1e-5, atol=1e-4)


def test_groups_have_biases_of_their_own():
    arrays, plan = draw(CASES[5])
    device = ShimDevice()
    y, _, _ = run(device, arrays, plan)
    without, _, _ = run(device, [*arrays[:2], 0 * arrays[2], arrays[3]], plan)
    np.testing.assert_allclose(y - without, np.broadcast_to(arrays[2], y.shape), rtol=1e-4, atol=1e-4)


def test_the_same_bits_every_time():
    """Also where pixels are cut into parts: these are added in order."""
    arrays, plan = draw(CASES[6])
    device = ShimDevice()
    first = run(device, arrays, plan)
    assert device.launches["gemm_sum"]
    for ours, again in zip(first, run(device, arrays, plan), strict=True):
        assert ours.tobytes() == again.tobytes()


def test_a_table_is_obeyed(monkeypatch, tmp_path):
    conv = Convolution("forward", 1, (6, 6), 8, 8, (3, 3), (1, 1), (1, 1))
    table = replace(planner.read_table(), shapes={convolution_key(conv, "sm_80"): ("conv2d_simt_32x32", 2)})
    planner.write_table(table, tmp_path / "table.json")
    monkeypatch.setenv(planner.TABLE_VARIABLE, str(tmp_path / "table.json"))
    plan_convolution.cache_clear()
    assert plan_convolution(conv, "sm_80", 4).tile.name == "conv2d_simt_32x32"
    plan_convolution.cache_clear()


def test_check(capsys):
    """``mpitrain kernel check``."""
    assert check_on(ShimDevice(), CheckOptions(precision=("fp32",))) == 0
    assert f"fp32 convolutions: {3 * len(CASES)} of {3 * len(CASES)} right" in capsys.readouterr().out


def test_check_in_bf16_has_images_in_bf16(monkeypatch):
    """As training has them; images in fp32 would go through the kernels for tf32."""
    monkeypatch.setattr(check_convolutions, "CASES", CASES[1:2])
    device = ShimDevice()
    assert all(result.right for result in check_convolutions.check_convolutions(device, "bf16"))
    assert device.launches["to_bf16"] == 2, "filters, forward and dx"


def test_check_finds_a_wrong_convolution(monkeypatch, capsys):
    def wrong(x, w, b, y, plan):
        y.fill(0)

    monkeypatch.setattr(OPS["conv2d"], "_cuda", wrong)
    assert check_on(ShimDevice(), CheckOptions(precision=("fp32",))) == 1
    assert "(allowed 1e-06): forward of Case" in capsys.readouterr().out
