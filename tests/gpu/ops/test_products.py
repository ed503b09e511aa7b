"""Products as the trainer asks for them: planned, launched on the shim, compared with float64."""

import numpy as np
import pytest

from mpitrain.kernels.check import LAYOUTS, TOLERANCE, check_product, shapes
from mpitrain.kernels.gemm import INPUTS, TILES, Shape, Tile
from mpitrain.kernels.gemm_launch import launch_gemm
from mpitrain.kernels.gemm_plan import STREAM, make_plan
from mpitrain.kernels.matrices import Matrices
from mpitrain.kernels.planner import plan
from mpitrain.ops.cuda import matmul, reduce
from mpitrain.ops.cuda.matmul import multiply
from mpitrain.ops.gradient import Gradient
from mpitrain.ops.linear import linear_dx_relu
from tests.gpu.device import ShimDevice
from tests.kernels.formats import to_tf32


@pytest.mark.parametrize(
    ("inputs", "arch"), [("fp32", "sm_80"), ("tf32", "sm_80"), ("bf16", "sm_80"), ("bf16", "sm_90a")]
)
def test_what_kernel_check_checks(inputs, arch):
    """Every fifth shape: all layouts, and one that splits K."""
    device = ShimDevice(arch)
    results = [check_product(device, multiply, shape, seed=3) for shape in [*shapes(inputs)][::5]]
    assert [result for result in results if not result.right] == []
    assert device.launches["gemm_sum"] > 0, "no shape has split K"
    kernels = {"fp32": {"gemm_simt"}, "tf32": {"gemm_mma"}, "bf16": {"cast_rows", "gemm_mma"}}[inputs]
    assert set(device.launches) - {"gemm_wgmma"} == kernels | {"gemm_sum"}


WGMMA = [tile for tile in TILES if tile.kernel == "gemm_wgmma"]


@pytest.mark.parametrize("tile", WGMMA, ids=lambda tile: tile.name)
@pytest.mark.parametrize("batch", [1, 2])
def test_hopper(monkeypatch, tile, batch):
    """Rows that are no multiple of 16 bytes: the layout that the copy engine needs is made on the way."""
    monkeypatch.setattr(matmul, "plan", lambda shape, arch, processors: make_plan(shape, tile, 2, processors))
    device = ShimDevice("sm_90a")
    for transpose_a, transpose_b in LAYOUTS[batch - 1 :: 2]:
        shape = Shape(150, 270, 400, batch, transpose_a, transpose_b, inputs="bf16")
        assert check_product(device, multiply, shape, seed=4).right
    assert device.launches == {"cast_rows": 4, "gemm_wgmma": 2, "gemm_sum_stream": 2}


@pytest.mark.parametrize("tile", WGMMA, ids=lambda tile: tile.name)
@pytest.mark.parametrize("batch", [1, 2])
def test_hopper_in_tf32(monkeypatch, tile, batch):
    """Factors are rounded to nearest and turned so that k is contiguous; a part of a larger matrix among them."""
    monkeypatch.setattr(matmul, "plan", lambda shape, arch, processors: make_plan(shape, tile, 2, processors))
    device = ShimDevice("sm_90a")
    for transpose_a, transpose_b in LAYOUTS[batch - 1 :: 2]:
        shape = Shape(150, 270, 397, batch, transpose_a, transpose_b, inputs="tf32")
        result = check_product(device, multiply, shape, seed=4)
        assert result.right
        assert result.error > 1e-5, "factors were not rounded"
    rounded = {"round_rows": 1, "round_columns": 3} if batch == 1 else {"round_rows": 3, "round_columns": 1}
    assert device.launches == {**rounded, "gemm_wgmma": 2, "gemm_sum_stream": 2}


def test_hopper_reads_the_heads_of_attention():
    """Matrices side by side in bf16, whose rows interleave."""
    device, rng = ShimDevice("sm_90a"), np.random.default_rng(5)
    length, heads, width = 70, 3, 64
    bits = (rng.standard_normal((length, heads, width)).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    x, out = device.from_host(bits), device.empty((heads, length, length))
    side_by_side = Matrices(x.data.ptr, length, width, heads * width, heads, width)
    shape = Shape(length, length, width, heads, transpose_b=True, inputs="bf16")
    result = Matrices(out.data.ptr, length, length, length, heads, length * length)
    launch_gemm(device, make_plan(shape, WGMMA[-1], 1), shape, side_by_side, side_by_side, result)
    exact = (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    np.testing.assert_allclose(
        device.to_host(out), np.einsum("ihk,jhk->hij", exact, exact), rtol=1e-4, atol=1e-4, err_msg="seed 5"
    )


@pytest.mark.parametrize("accumulate", [False, True])
def test_more_matrices_than_a_launch_takes(device, monkeypatch, accumulate):
    """The third dimension of a grid has at most 65535 blocks: here 3."""
    monkeypatch.setattr(matmul, "MOST_MATRICES", 3)
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((8, 20, 30), np.float32), rng.standard_normal((8, 40, 30), np.float32)
    bias, before = rng.standard_normal(40, np.float32), rng.standard_normal(40, np.float32)
    out, pre, sums = device.empty((8, 20, 40)), device.empty((8, 20, 40)), device.from_host(before.copy())
    options = {"bias": device.from_host(bias), "epilogue": "relu", "pre": pre, "sums": Gradient(sums, accumulate)}
    multiply(*map(device.from_host, (a, b)), out, transpose_b=True, **options)
    x = a.astype(np.float64) @ b.swapaxes(1, 2) + bias
    np.testing.assert_allclose(device.to_host(pre), x, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(device.to_host(out), np.maximum(x, 0), rtol=1e-4, atol=1e-4)
    total = np.maximum(x, 0).sum(axis=(0, 1)) + accumulate * before
    np.testing.assert_allclose(device.to_host(sums), total, rtol=1e-4, atol=1e-4)
    assert device.launches["gemm_simt"] == 3
    multiply(device.from_host(a), device.from_host(b[0]), out, transpose_b=True)  # one factor for all matrices
    np.testing.assert_allclose(device.to_host(out), a.astype(np.float64) @ b[0].T, rtol=1e-4, atol=1e-4)


def test_hopper_in_tf32_takes_parts_of_larger_matrices(monkeypatch):
    monkeypatch.setattr(matmul, "plan", lambda shape, arch, processors: make_plan(shape, WGMMA[-1], 1, processors))
    device, rng = ShimDevice("sm_90a"), np.random.default_rng(5)
    device.precision = "tf32"
    a, b, out = (rng.standard_normal((40, 60)).astype(np.float32) for _ in range(3))
    on = [device.from_host(x) for x in (a, b, out)]
    multiply(on[0][:30, 7:57], on[1][1:21, 3:53], on[2][5:35, 30:50], transpose_b=True, beta=-1.0)
    expected = out.copy()
    expected[5:35, 30:50] = to_tf32(a[:30, 7:57]) @ to_tf32(b[1:21, 3:53]).T - out[5:35, 30:50]
    np.testing.assert_allclose(device.to_host(on[2]), expected, rtol=1e-5, atol=1e-5)


def test_on_hopper_large_products_in_tf32_go_to_wgmma():
    """Round the factors first where this is worth it; small ones go to gemm_mma, which rounds on the way."""
    kernels = [plan(Shape(n, n, n, inputs="tf32"), "sm_90a", 132).kernel.name for n in (64, 4096, 8192)]
    assert kernels == ["gemm_mma", "gemm_wgmma", "gemm_wgmma"]
    assert plan(Shape(4096, 4096, 4096, inputs="tf32"), "sm_80", 108).kernel.name == "gemm_mma"


def test_a_wrong_product_is_found(device):
    def wrong(a, b, out, *, bias, **layout):
        multiply(a, b, out, **layout)

    assert not check_product(device, wrong, Shape(20, 10, 5)).right


def test_parts_of_larger_matrices(device):
    """Rows further apart than they are long, on all sides, and sums on top of what is there."""
    rng = np.random.default_rng(5)
    a, b, out = (rng.standard_normal((40, 60)).astype(np.float32) for _ in range(3))
    on = [device.from_host(x) for x in (a, b, out)]
    multiply(on[0][:30, 7:57], on[1][1:21, 3:53], on[2][5:35, 30:50], transpose_b=True, beta=-1.0)
    expected = out.copy()
    expected[5:35, 30:50] = a[:30, 7:57] @ b[1:21, 3:53].T - out[5:35, 30:50]
    np.testing.assert_allclose(device.to_host(on[2]), expected, rtol=1e-5, atol=1e-5)


def test_nothing_to_multiply_and_nothing_to_sum(device):
    out = device.from_host(np.full((3, 4), 7, np.float32))
    multiply(device.empty((0, 5)), device.empty((5, 4)), out[:0])
    assert not device.launches
    multiply(device.empty((3, 0)), device.empty((0, 4)), out)
    np.testing.assert_array_equal(device.to_host(out), 0)


def test_a_second_launch_allocates_nothing(device):
    a, b, out = device.zeros((64, 4000)), device.zeros((4000, 32)), device.zeros((64, 32))
    multiply(a, b, out)
    with device.counted() as counts:
        multiply(a, b, out)
    assert counts["launches"] == {"gemm_simt": 1, "gemm_sum": 1}
    assert counts["buffers"] == counts["temporaries"] == counts["syncs"] == 0


@pytest.mark.parametrize("tile", [Tile("gemm_simt", 64, 64, 32, 32), Tile("gemm_simt", 32, 32, 32, 16)])
@pytest.mark.parametrize("epilogue", ["relu", "gelu"])
def test_epilogues_where_k_is_split(device, monkeypatch, tile, epilogue):
    monkeypatch.setattr(matmul, "plan", lambda shape, arch, processors: make_plan(shape, tile, 3))
    rng = np.random.default_rng(1)
    a, b, bias = (rng.standard_normal(s).astype(np.float32) for s in ((50, 300), (300, 20), (20,)))
    out, pre = device.empty((50, 20)), device.empty((50, 20))
    multiply(*map(device.from_host, (a, b)), out, bias=device.from_host(bias), epilogue=epilogue, pre=pre)
    x = a.astype(np.float64) @ b + bias
    np.testing.assert_allclose(device.to_host(pre), x, rtol=1e-4, atol=1e-4)
    if epilogue == "relu":
        np.testing.assert_allclose(device.to_host(out), np.maximum(x, 0), rtol=1e-4, atol=1e-4)
    assert device.launches == {"gemm_simt": 1, "gemm_sum": 1}


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: tile.name)
@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize("accumulate", [False, True])
def test_the_gradient_of_a_bias_comes_with_the_product(monkeypatch, tile, splits, accumulate):
    """dx = dy w^T where x > 0, and its column sums, by every kernel: slabs of any height, summed in two turns."""
    monkeypatch.setattr(matmul, "plan", lambda shape, arch, processors: make_plan(shape, tile, splits, processors))
    monkeypatch.setattr(reduce, "LEAST_TURNS", 1)
    device, rng = ShimDevice("sm_90a"), np.random.default_rng(3)
    device.precision = INPUTS[tile.kernel][0]
    dy, w, x = (rng.standard_normal(s).astype(np.float32) for s in ((600, 200), (140, 200), (600, 140)))
    before = rng.standard_normal(140).astype(np.float32)
    dx, db = device.empty((600, 140)), device.from_host(before)
    linear_dx_relu(*map(device.from_host, (dy, w, x)), dx, Gradient(db, accumulate))
    expected = np.float64(dy) @ w.T * (x > 0)
    tolerance = TOLERANCE[device.precision] * (np.abs(dy) @ np.abs(w.T))
    assert (np.abs(device.to_host(dx) - expected) <= tolerance).all()
    sums = device.to_host(dx).sum(axis=0, dtype=np.float64) + accumulate * before
    np.testing.assert_allclose(device.to_host(db), sums, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("tile", WGMMA[::4], ids=lambda tile: tile.name)
@pytest.mark.parametrize("accumulate", [False, True])
def test_stream_k(monkeypatch, tile, accumulate):
    """dw of a long batch, and dx with column sums, of tiles of which some are whole and the others are shared out."""
    monkeypatch.setattr(matmul, "plan", lambda shape, arch, processors: make_plan(shape, tile, STREAM, 20))
    device, rng = ShimDevice("sm_90a"), np.random.default_rng(7)
    device.precision = "bf16"
    x, dy = (rng.standard_normal(s).astype(np.float32) for s in ((1500, 300), (1500, 530)))
    before = rng.standard_normal((300, 530)).astype(np.float32)
    made, dw = make_plan(Shape(300, 530, 1500, inputs="bf16"), tile, STREAM, 20), device.from_host(before)
    assert made.stream.shared
    multiply(*map(device.from_host, (x, dy)), dw, transpose_a=True, beta=float(accumulate))
    tolerance = TOLERANCE["bf16"] * (np.abs(x.T) @ np.abs(dy) + np.abs(before))
    assert (np.abs(device.to_host(dw) - (np.float64(x).T @ dy + accumulate * before)) <= tolerance).all()
    assert device.launches == {"cast_rows": 2, "gemm_wgmma": 1, "gemm_sum_stream": 1}

    slope, w, db = rng.standard_normal((300, 530)), rng.standard_normal((530, 1500)), rng.standard_normal(530)
    slope, w, db = (each.astype(np.float32) for each in (slope, w, db))
    dx, sums = device.empty((300, 530)), device.from_host(db)
    linear_dx_relu(*map(device.from_host, (x.T.copy(), w, slope)), dx, Gradient(sums, accumulate))
    exact = np.float64(x).T @ w.T * (slope > 0)
    assert (np.abs(device.to_host(dx) - exact) <= TOLERANCE["bf16"] * (np.abs(x.T) @ np.abs(w.T))).all()
    added = device.to_host(dx).sum(axis=0, dtype=np.float64) + accumulate * db
    np.testing.assert_allclose(device.to_host(sums), added, rtol=1e-4, atol=1e-3)


def test_plans_are_made_once():
    plan.cache_clear()
    for _ in range(3):
        plan(Shape(64, 64, 64), "sm_80", 108)
    assert plan.cache_info().misses == 1
