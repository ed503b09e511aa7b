"""gemm_wgmma with K shared out to its clusters (stream-K), and gemm_sum_stream after it."""

from dataclasses import replace

import numpy as np
import pytest

from mpitrain.kernels.gemm_plan import STREAM_SUMS
from mpitrain.kernels.predicted.gemm_traffic import tile_origin
from mpitrain.kernels.stream_k import FIELDS, RECORD, STEP
from tests.kernels import cpu
from tests.kernels.products import gemm
from tests.kernels.products.cases import Case
from tests.kernels.products.test_gemm_wgmma import TOLERANCE, VARIANTS, aligned
from tests.kernels.test_plans import constants

pytestmark = cpu.needs_gxx
DW, IN_TURNS = VARIANTS[2], VARIANTS[7]  # two blocks of a cluster with one tile; consumers with a tile each


def built(variant):
    return cpu.build("gemm_wgmma.cu", **variant.macros)


def shared_case(variant, seed, **options):
    """Draw a ragged product whose K stream-K shares out unevenly: some tail is cut, or some share has several."""
    rng, kernels = np.random.default_rng(seed), built(variant)
    tile_m, tile_n = variant.cluster * kernels.macro("TILE_M"), kernels.macro("TILE_N")
    while True:
        down, across, batch = (int(x) for x in rng.integers(1, [3, 4, 3]))
        m = (down - 1) * tile_m + int(rng.choice([tile_m, rng.integers(1, tile_m)]))
        n = (across - 1) * tile_n + int(rng.choice([tile_n, rng.integers(1, tile_n)]))
        case = aligned(Case(m, n, int(rng.integers(300, 1000)), batch, workers=int(rng.integers(2, 9))), variant)
        stream = gemm.shared_out(kernels, variant, case)
        if stream.shared and stream.share != stream.tail and m * n * batch < 300_000:
            beta, alpha = float(rng.choice([0, 0.5])), float(rng.choice([1, -0.75]))
            case = replace(case, seed=seed, beta=beta, alpha=alpha, pad=8 * int(rng.integers(2)))
            return replace(case, sum_columns=bool(rng.integers(2)), keep_pre=True, **options)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_against_float64(variant):
    case = shared_case(variant, seed=5)
    assert gemm.run(built(variant), variant, case) < TOLERANCE[variant.outputs], case


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("variant", [DW, IN_TURNS], ids=str)
def test_ragged(variant, seed):
    case = shared_case(variant, seed, in_place=seed == 1)
    assert gemm.run(built(variant), variant, case) < TOLERANCE[variant.outputs], case


@pytest.mark.parametrize("part", [0, 256])
def test_gradients_are_added_to_what_is_there(part):
    """dw += x^T dy, whole tiles and shared ones; and with K in four parts."""
    case = Case(264, 520, 1000, beta=1.0, in_place=True, bias=False, workers=0 if part else 5, part=part)
    stream = gemm.shared_out(built(DW), DW, case)
    assert (stream.planes, stream.whole) == ((4, 0) if part else (4, 5))
    assert gemm.run(built(DW), DW, case) < TOLERANCE["fp32"]


def test_the_same_bits_whoever_runs():
    """By any number of clusters, in the order that each gives: the work was shared out for seven of them."""
    case = Case(264, 264, 600, workers=7)
    stream = gemm.shared_out(built(DW), DW, case)
    assert sorted(map(stream.planes_of, range(stream.shared))) == [2, 2, 2, 3]
    products = [gemm.run_persistent(built(DW), DW, case, clusters) for clusters in (1, 2, 3, 7, 12)]
    assert all(product.error() < TOLERANCE["fp32"] for product in products)
    assert len({product.out.values.tobytes() for product in products}) == 1


def test_parts_are_added_in_the_order_of_k():
    """The sum has the bits of a sum by NumPy in fp32, plane after plane."""
    case = Case(264, 264, 600, workers=7, bias=False)
    stream = gemm.shared_out(built(DW), DW, case)
    product = gemm.run_persistent(built(DW), DW, case)
    found = np.zeros((512, 512), np.float32)
    for slot, planes in enumerate(as_tiles(product.partials.values, stream)):
        row, column = tile_origin(slot, across=2, down=2)
        into = found[256 * row : 256 * (row + 1), 256 * column : 256 * (column + 1)]
        for plane in planes[: stream.planes_of(slot)]:
            into += plane
        assert np.isnan(planes[stream.planes_of(slot) :]).all(), "written in vain"
    np.testing.assert_array_equal(found[:264, :264], product.out.values[0])


def as_tiles(partials, stream):
    """Return partial sums as (shared tiles, planes, rows, columns); a lane holds two columns of two rows, 8 apart."""
    strips, groups = stream.tile_m // 16, stream.tile_n // 8
    held = partials.reshape(stream.planes, stream.shared, strips, groups, 8, 4, 2, 2)
    return held.transpose(1, 0, 2, 6, 4, 3, 5, 7).reshape(stream.shared, stream.planes, stream.tile_m, stream.tile_n)


def test_record():
    """The fields of struct StreamK as Python passes them."""
    expressions = ["sizeof(StreamK)", *(f"__builtin_offsetof(StreamK, {name})" for name in FIELDS)]
    expressions += ["StreamK::STEP", "8 * STRIP_ROWS * COLUMNS", "STRIP_ROWS"]
    found = constants("gemm_sum_stream.cu", {}, expressions)
    assert found == [RECORD.itemsize, *(RECORD.fields[name][1] for name in FIELDS), STEP, STREAM_SUMS, 16]
