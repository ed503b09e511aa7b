"""Batch statistics that the convolution before a batch normalization leaves, on what stands for a GPU."""

import numpy as np
import pytest

from mpitrain.device import bfloat16
from mpitrain.kernels import convolution_plan
from mpitrain.layers import BatchNorm2d, Conv2d, ReLU, Sequential
from mpitrain.ops import OPS
from mpitrain.ops.batchnorm import Norm
from mpitrain.ops.conv2d import plan_conv2d
from mpitrain.ops.cuda import batchnorm as norms
from mpitrain.ops.cuda import conv2d as convolutions
from mpitrain.ops.window import Window
from tests.gpu.device import ShimDevice
from tests.gpu.layers.check import Run, check_layer
from tests.gpu.ops.test_conv2d_hopper import lines_first, wgmma_first
from tests.gpu.training.job import Job
from tests.kernels.reductions.moments import of_parts

EPS = 1e-5


@pytest.fixture(autouse=True)
def plans_of_its_own():
    """Plans that a test forces are not those of others."""
    convolution_plan.plan_convolution.cache_clear()
    yield
    convolution_plan.plan_convolution.cache_clear()


def convolve(device, window, channels, images, bias=None, scale=1.0):
    """Return y (pixels, channels) as stored, in float64, its moments, and what batch normalization keeps of y."""
    rng, (c, o) = np.random.default_rng(0), channels
    plan = plan_conv2d(window, (9, 8), 1, c, o)
    dtype = bfloat16() if device.precision == "bf16" else np.float32
    x, w = rng.standard_normal((images, 9, 8, c)), scale * rng.standard_normal((*window.kernel, c, o))
    x, w, b = (device.from_host(array.astype(np.float32)) for array in (x, w, rng.standard_normal(o)))
    if bias is not None:
        b.fill(bias)
    y, z = (device.empty((images, *plan.output, o), dtype) for _ in range(2))

    def keep(name, shape, dtype=None):
        return device.empty(shape, dtype or np.float32)

    moments = OPS["conv2d_moments"](x.astype(dtype), w, b, y, plan, keep)
    vectors = [device.zeros((o,)) for _ in range(4)]
    norm = Norm(*vectors, 0.1, EPS, False, None)
    kept, _ = OPS["batchnorm_train"](y, norm, z, keep, moments)
    stored = np.float64(device.to_host(y).astype(np.float32)).reshape(-1, o)
    return stored, moments, np.float64(device.to_host(kept))


@pytest.mark.parametrize("most_slabs", [0, 1000])
@pytest.mark.parametrize(
    ("arch", "precision", "kernel"),
    [
        ("sm_80", "fp32", "conv2d_simt"),
        ("sm_80", "tf32", "conv2d_mma"),
        ("sm_80", "bf16", "conv2d_mma"),
        ("sm_90a", "bf16", "conv2d_wgmma"),
    ],
)
@pytest.mark.parametrize("parts_of_k", [False, True])
def test_against_numpy(arch, precision, kernel, parts_of_k, most_slabs, monkeypatch):
    """The mean and the variance of what is stored, from slabs as they are and merged; with K in parts, by gemm_sum."""
    choose = convolution_plan.choose_convolution

    def chosen(conv, *options):
        tile, _ = (wgmma_first if arch == "sm_90a" else choose)(conv, *options)
        return tile, 4 if parts_of_k else 1

    monkeypatch.setattr(convolution_plan, "choose_convolution", chosen)
    monkeypatch.setattr(norms, "MOST_SLABS", most_slabs)
    device = ShimDevice(arch, num_processors=3)
    device.precision = precision
    y, moments, kept = convolve(device, Window((3, 3), padding=(1, 1)), (64, 24), 3)
    np.testing.assert_allclose(device.to_host(moments.array), of_parts(y, moments.rows), rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(kept[0], y.mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(kept[1], 1 / np.sqrt(y.var(axis=0) + EPS), rtol=1e-5)
    once = {kernel, "batchnorm_statistics", "batchnorm_apply"}
    once |= ({"gemm_sum"} if parts_of_k else set()) | (set() if most_slabs else {"batchnorm_merge_slabs"})
    assert {name: device.launches[name] for name in once} == dict.fromkeys(once, 1)
    assert not device.launches["batchnorm_moments"]


@pytest.mark.parametrize("images", [16, 3])
def test_by_lines(images, monkeypatch):
    """Slabs are what a consumer computes, of eight images side by side; with three images there are none."""
    monkeypatch.setattr(convolution_plan, "choose_convolution", lines_first)
    device = ShimDevice("sm_90a", num_processors=3)
    device.precision = "bf16"
    y, moments, kept = convolve(device, Window((3, 3), padding=(1, 1)), (64, 24), images)
    assert device.launches["conv2d_lines_wgmma"] == 1
    assert (moments is None) == (images == 3)
    assert device.launches["batchnorm_moments"] == (1 if images == 3 else 0)
    np.testing.assert_allclose(kept[0], y.mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(kept[1], 1 / np.sqrt(y.var(axis=0) + EPS), rtol=1e-5)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_what_bf16_makes_constant_has_no_variance(arch, monkeypatch):
    """Numbers within 0.1 of 100 are all stored as 100: their moments are those of what the next layers read."""
    if arch == "sm_90a":
        monkeypatch.setattr(convolution_plan, "choose_convolution", wgmma_first)
    device = ShimDevice(arch, num_processors=3)
    device.precision = "bf16"
    y, _, kept = convolve(device, Window((3, 3), padding=(1, 1)), (64, 8), 1, bias=100.0, scale=1e-3)
    assert (y == 100).all()
    np.testing.assert_array_equal(kept[0], 100)
    np.testing.assert_allclose(kept[1], 1 / np.sqrt(EPS), rtol=1e-5)


def test_products_of_matrices_have_moments():
    """In bf16 on Hopper a 1 x 1 convolution that a batch normalization follows runs as one, for its moments."""
    device = ShimDevice("sm_90a", num_processors=3)
    device.precision = "bf16"
    y, moments, kept = convolve(device, Window((1, 1)), (64, 24), 3)
    np.testing.assert_allclose(device.to_host(moments.array), of_parts(y, moments.rows), rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(kept[1], 1 / np.sqrt(y.var(axis=0) + EPS), rtol=1e-5)
    assert device.launches["conv2d_wgmma"] == 1
    assert not device.launches["batchnorm_moments"]


@pytest.mark.parametrize(
    ("precision", "window", "kernel"),
    [("tf32", Window((1, 1)), "gemm_"), ("bf16", Window((3, 3), padding=(1, 1)), "conv2d_")],
    ids=str,
)
def test_without_moments_the_convolution_is_what_it_is_alone(precision, window, kernel, monkeypatch):
    """Products in tf32 have no moments, nor have slabs that are too small: nothing is converted to fp32 for that."""
    if precision == "bf16":
        monkeypatch.setattr(convolutions, "LEAST_SLAB", 1000)
    device = ShimDevice("sm_90a", num_processors=3)
    device.precision = precision
    _, moments, _ = convolve(device, window, (64, 24), 3)
    assert moments is None
    assert sum(count for name, count in device.launches.items() if name.startswith(kernel)) == 1
    assert device.launches["batchnorm_moments"] == 1
    assert set(device.launches) - {"to_bf16", "cast_rows"} <= {
        *(name for name in device.launches if name.startswith(kernel)),
        *("batchnorm_moments", "batchnorm_statistics", "batchnorm_apply"),
    }


@pytest.mark.parametrize("window", [{"padding": 1}, {"padding": 1, "groups": 2}], ids=str)
def test_in_a_sequence(device, window):
    """A launch less than the layers one by one; with ReLU, too."""

    def make():
        return Sequential(Conv2d(4, 6, 3, **window), BatchNorm2d(6), ReLU(), Conv2d(6, 5, 1), BatchNorm2d(5))

    x = np.random.default_rng(1).standard_normal((3, 7, 6, 4)).astype(np.float32)
    launches = check_layer(device, make, x)
    assert launches["batchnorm_statistics"] == 2
    assert not launches["batchnorm_moments"]


def test_others_make_the_pass(device):
    """Depthwise convolutions write no moments; a subclass may compute something else, and evaluation needs none."""

    class Doubled(BatchNorm2d):
        pass

    x = device.from_host(np.random.default_rng(1).standard_normal((3, 7, 6, 4)).astype(np.float32))
    for conv, norm in ((Conv2d(4, 4, 3, groups=4), BatchNorm2d(4)), (Conv2d(4, 4, 3), Doubled(4))):
        run = Run(lambda conv=conv, norm=norm: Sequential(conv, norm), device, np.float32, True)
        with device.counted() as counts:
            run.forward(x)
        assert counts["launches"]["batchnorm_moments"] == 1
    run = Run(lambda: Sequential(Conv2d(4, 4, 3), BatchNorm2d(4)), device, np.float32, False)
    with device.counted() as counts:
        run.forward(x)
    assert counts["launches"] == {"conv2d_simt": 1, "batchnorm_evaluate": 1}


def test_launches_of_a_step(device, monkeypatch):
    """All nine normalizations of a ResNet-8 save their pass; by one, losses are the same but for rounding."""
    ours = Job("resnet8", device)
    with device.counted() as counts:
        losses = [ours.step()]
    with_moments = counts["launches"]
    assert with_moments["batchnorm_statistics"] == 9
    assert not with_moments["batchnorm_moments"]
    monkeypatch.setattr(convolutions, "LEAST_SLAB", 1000)
    other = Job("resnet8", device)
    with device.counted() as counts:
        np.testing.assert_allclose(losses, [other.step()], rtol=1e-5)
    assert counts["launches"] - with_moments == {"batchnorm_moments": 9}
