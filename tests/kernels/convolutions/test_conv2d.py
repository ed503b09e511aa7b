"""Convolutions by implicit products against NumPy in float64."""

from dataclasses import replace

import numpy as np
import pytest

from tests.kernels import cpu
from tests.kernels.arrays import f32, i32
from tests.kernels.arrays import launch as launch_on
from tests.kernels.convolutions.cases import Arrays, Case, each_kind, geometries, launch, of, run

pytestmark = cpu.needs_gxx
TOLERANCE = {"fp32": 2e-6, "bf16": 2**-8}  # by type of the output; inputs are rounded before the oracle sees them
SMALL_SIMT = {"TILE_M": 64, "TILE_N": 64, "TILE_K": 8, "WARP_M": 32, "WARP_N": 32}
SMALL_MMA = {"TILE_M": 64, "TILE_N": 64, "WARP_M": 32, "WARP_N": 32, "STAGES": 4}


def check(case, **tile):
    assert run(case, **tile) < TOLERANCE[case.conv.outputs]


@pytest.mark.parametrize("case", [Case(c, seed=i) for i, c in enumerate(each_kind(geometries()))], ids=str)
def test_simt(case):
    check(case, **SMALL_SIMT)


@pytest.mark.parametrize("case", [Case(c, seed=i) for i, c in enumerate(each_kind(geometries(4)[:5]))], ids=str)
def test_simt_in_pieces(case):
    check(case, **SMALL_SIMT)


TF32, BF16 = {"inputs": "tf32"}, {"inputs": "bf16", "outputs": "bf16"}
CHUNKS = [
    Case(c, "conv2d_mma", seed=i)
    for i, c in enumerate([*each_kind(geometries(4), **TF32), *each_kind(geometries(8), **BF16)])
]
ELEMENTS = [
    Case(c, "conv2d_mma", elementwise=True, seed=i)
    for i, c in enumerate([*each_kind(geometries(1), **TF32), *each_kind(geometries(3), **BF16)])
]


@pytest.mark.parametrize("case", [*CHUNKS, *ELEMENTS], ids=str)
def test_mma(case):
    check(case, **SMALL_MMA)


# Several tiles in every direction and a ring that turns over, in the tiles that training takes.
LARGE = of("forward", 2, (11, 13), 64, 72, (3, 3), (1, 1), (1, 1))
STRIDED = of("forward", 2, (21, 15), 64, 72, (3, 3), (2, 2), (1, 1))
FIRST = of("forward", 1, (37, 30), 3, 64, (7, 7), (2, 2), (3, 3))


@pytest.mark.parametrize("conv", each_kind([LARGE, STRIDED, FIRST]), ids=str)
@pytest.mark.parametrize("types", [{}, TF32, BF16, {"inputs": "bf16"}], ids=str)
def test_large(conv, types):
    conv, kernel = replace(conv, **types), "conv2d_mma" if types else "conv2d_simt"
    part = 256 if conv.kind == "dw" else 0
    beta = 1.0 if conv.kind == "dw" else 0.0
    check(Case(conv, kernel, part=part, beta=beta))


FUSED = [
    Case(replace(LARGE, epilogue="relu"), bias=True, beta=1.0, moments=True),
    Case(replace(LARGE, epilogue="relu"), bias=True, beta=1.0, moments=True, part=128),
    Case(replace(STRIDED, epilogue="relu", groups=2, channels=8, num_outputs=16), bias=True, moments=True),
    Case(replace(STRIDED, groups=2, channels=8, num_outputs=16), bias=True, sums=True, beta=0.5),
    Case(replace(STRIDED, kind="dx"), beta=1.0),
    Case(replace(LARGE, kind="dx"), beta=1.0, part=192, sums=True),
    Case(replace(LARGE, kind="dx", epilogue="relu_gradient"), sums=True),
    Case(replace(LARGE, kind="dx", epilogue="relu_gradient"), sums=True, part=192, beta=1.0),
    Case(replace(STRIDED, kind="dx", epilogue="relu_gradient")),
]


@pytest.mark.parametrize("case", FUSED, ids=str)
@pytest.mark.parametrize("types", [{}, TF32, BF16], ids=str)
def test_epilogues(case, types):
    check(replace(case, conv=replace(case.conv, **types), kernel="conv2d_mma" if types else "conv2d_simt"))


def test_moments_with_a_large_mean():
    """Differences of 1 beside a mean of 1000 keep their digits."""
    case = Case(of("forward", 2, (9, 9), 4, 8, (1, 1)), bias=True, moments=True)
    arrays = Arrays(case)
    arrays.bias += 1000
    kernels = cpu.build("conv2d_simt.cu", **case.macros(), **SMALL_SIMT)
    launch(case, kernels, arrays)
    arrays.check_moments(kernels.macro("WARP_M"))


def test_moments_are_what_batch_normalization_merges():
    """Statistics of the batch without a pass over y: its channels' mean, 1 / sqrt(var + eps) and running statistics."""
    case = Case(of("forward", 3, (13, 11), 4, 9, (3, 3), (1, 1), (1, 1)), bias=True, moments=True)
    arrays, kernels = Arrays(case), cpu.build("conv2d_simt.cu", **case.macros(), **SMALL_SIMT)
    launch(case, kernels, arrays)
    rows, channels = arrays.rows, arrays.columns
    kept, ones = np.zeros((5, channels), np.float32), np.ones(channels, np.float32)
    mean, var = np.zeros(channels, np.float32), np.ones(channels, np.float32)
    moments = np.ascontiguousarray(arrays.column_sums.reshape(-1))
    sizes = [i32(rows), i32(channels), i32(kernels.macro("WARP_M")), f32(0.5), f32(1e-5)]
    statistics = cpu.build("batchnorm_statistics.cu")
    launch_on(statistics, "batchnorm_statistics", moments, ones, 0 * ones, mean, var, kept, *sizes, grid=2)
    y = np.float64(arrays.out.reshape(rows, channels))
    np.testing.assert_allclose(kept[0], y.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kept[1], 1 / np.sqrt(y.var(axis=0) + 1e-5), rtol=1e-5)
    np.testing.assert_allclose(mean, y.mean(axis=0) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(var, 0.5 + y.var(axis=0, ddof=1) / 2, rtol=1e-5)
