"""The shim itself: what CUDA leaves undefined must fail here, and lanes must hold what the PTX ISA says."""

import numpy as np
import pytest

from tests.kernels import cpu, formats

pytestmark = cpu.needs_gxx


@pytest.fixture(scope="module")
def probes():
    return cpu.build("probes.cu", folder=cpu.PROBES)


def launch(probes, name, *arguments, threads=32, **options):
    probes.launch(name, grid=(1, 1, 1), block=(threads, 1, 1), arguments=arguments, **options)


def test_warp_sum_and_atomics(probes):
    x, out = np.arange(128, dtype=np.float32), np.zeros(1, np.float32)
    launch(probes, "warp_sum", x, out, threads=128)
    assert out[0] == x.sum()


def test_pairs_of_bf16_and_powers_of_2(probes):
    """The first of a pair is in the lower half; powers are right to 2^-21, and 0 where they are no normal floats."""
    x = np.random.default_rng(0).uniform(-130, 20, 64).astype(np.float32)
    x[:4] = -np.inf, -127, 0, 1
    pairs, powers = np.zeros(32, np.uint32), np.zeros(64, np.float32)
    launch(probes, "pairs_and_powers", x, pairs, powers)
    np.testing.assert_array_equal(pairs.view(np.uint16), formats.to_bf16(x))
    expected = np.exp2(np.float64(x))
    np.testing.assert_allclose(powers, np.where(expected < 2**-126, 0, expected), rtol=2**-21)


@pytest.mark.shim
def test_missing_barrier_shows(probes):
    x, out = np.arange(128, dtype=np.float32), np.zeros(128, np.float32)
    launch(probes, "reverse_without_barrier", x, out, threads=128)
    assert np.isnan(out).any()


@pytest.mark.shim
def test_order_is_drawn_from_the_seed(probes):
    orders = []
    for seed in (1, 1, 2):
        order, count = np.zeros(64, np.int32), np.zeros(1, np.int32)
        launch(probes, "arrival_order", order, count, threads=64, seed=seed)
        orders.append(order.tolist())
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.shim
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("barrier_in_a_branch", "a barrier never completes"),
        ("barriers_on_two_lines", "__syncthreads on lines"),
        ("mask_without_the_caller", "lacks the calling lane"),
        ("mask_of_an_ended_lane", "which does not run|never completes"),
        ("misaligned_copy", "not aligned"),
        ("copy_never_awaited", "before its asynchronous copies have landed"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_undefined_behavior_fails(probes, name, message, seed):
    with pytest.raises(cpu.Launch, match=message):
        launch(probes, name, np.zeros(1024, np.float32), threads=64, seed=seed)


def test_copy_lands_at_its_wait(probes):
    x, out = np.arange(8, dtype=np.float32), np.zeros(12, np.float32)
    x_aligned = np.zeros(12, np.float32)
    x_aligned = x_aligned[(-x_aligned.ctypes.data // 4) % 4 :][:8]
    x_aligned[:] = x
    launch(probes, "copy_two_groups", x_aligned, out, threads=1)
    assert cpu.elsewhere or np.isnan(out[:4]).all()  # issued
    assert out[4:8].tolist() == [0, 1, 2, 3]  # the older group landed
    assert out[8:12].tolist() == [4, 5, 0, 0]  # the newer, of which 8 bytes were valid


def test_mma_tf32_lanes(probes):
    """The tables "Matrix fragments for mma.m16n8k8" (.tf32) of the PTX ISA, from its formulas for row and col."""
    rng = np.random.default_rng(0)
    a, b = (formats.to_tf32(rng.standard_normal(shape)) for shape in ((16, 8), (8, 8)))
    a_lanes = [[a[g + 8 * (i % 2), t + 4 * (i // 2)] for i in range(4)] for g in range(8) for t in range(4)]
    b_lanes = [[b[t + 4 * i, g] for i in range(2)] for g in range(8) for t in range(4)]
    check_mma(probes, "one_mma_tf32", np.array(a_lanes), np.array(b_lanes), a, b)


def test_mma_bf16_lanes(probes):
    """The tables "Matrix fragments for mma.m16n8k16" (.bf16): a_i at row g + 8 where i is 2, 3, 6 or 7, and so on."""
    rng = np.random.default_rng(0)
    a, b = (formats.to_bf16(rng.standard_normal(shape)) for shape in ((16, 16), (16, 8)))
    places = [(g, t) for g in range(8) for t in range(4)]
    a_lanes = [[a[g + 8 * (i // 2 % 2), 2 * t + i % 2 + 8 * (i // 4)] for i in range(8)] for g, t in places]
    b_lanes = [[b[2 * t + i % 2 + 8 * (i // 2), g] for i in range(4)] for g, t in places]
    a_lanes, b_lanes = (np.array(x, np.uint16) for x in (a_lanes, b_lanes))
    check_mma(probes, "one_mma_bf16", a_lanes, b_lanes, formats.from_bf16(a), formats.from_bf16(b))


def check_mma(probes, name, a_lanes, b_lanes, a, b):
    d_lanes = np.full((32, 4), np.nan, np.float32)
    launch(probes, name, a_lanes, b_lanes, d_lanes)
    d = np.zeros((16, 8))
    for lane in range(32):
        for i in range(4):
            d[lane // 4 + 8 * (i // 2), lane % 4 * 2 + i % 2] = d_lanes[lane, i]
    np.testing.assert_allclose(d, np.float64(a) @ np.float64(b), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
def test_ldmatrix_lanes(probes, transposed):
    matrices = np.arange(4 * 64, dtype=np.uint16).reshape(4, 8, 8)
    got = np.zeros((32, 4, 2), np.uint16)
    launch(probes, "one_ldmatrix_transposed" if transposed else "one_ldmatrix", matrices, got)
    if transposed:
        matrices = matrices.swapaxes(1, 2)
    expected = [[matrices[i, lane // 4, lane % 4 * 2 :][:2] for i in range(4)] for lane in range(32)]
    np.testing.assert_array_equal(got, expected)


def test_rounding_to_bf16_and_tf32(probes):
    x = np.random.default_rng(0).standard_normal(256).astype(np.float32)
    x[:6] = [0, -0.0, np.inf, -np.inf, 1 + 2**-8, 1 + 2**-11]  # the last two lie between two bf16, two tf32
    as_bf16, as_tf32 = np.zeros(256, np.uint16), np.zeros(256, np.float32)
    launch(probes, "round_numbers", x, as_bf16, as_tf32, threads=256)
    np.testing.assert_array_equal(as_bf16, formats.to_bf16(x))
    np.testing.assert_array_equal(as_tf32, formats.to_tf32(x))
    assert as_bf16[4] == 0x3F80
    assert as_tf32[5] == 1 + 2**-10


@pytest.mark.parametrize(("name", "element_bytes"), [("list_float_pieces", 4), ("list_bf16_pieces", 2)])
def test_a_store_of_a_warp_fills_its_sectors(probes, name, element_bytes):
    """Memory is written by 32 bytes: a lane has 16 of them at once, and another lane the rest."""
    neighbors = 16 // element_bytes
    out = np.full((16 * 64 // (32 * neighbors), 32, 2 + neighbors), np.nan, np.float32)
    launch(probes, name, out)
    rows, columns = (out[..., i].astype(int) for i in range(2))
    np.testing.assert_array_equal(out[..., 2:], (1000 * rows + columns)[..., None] + np.arange(neighbors))
    assert np.unique(out[..., 2:]).size == 16 * 64, "each element once"
    for store in (rows * 64 + columns) * element_bytes:
        _, counts = np.unique(store // 32, return_counts=True)
        assert (store % 16 == 0).all()
        assert (counts == 2).all(), f"sectors that a store fills by half: {store.tolist()}"
        assert np.unique(store // 64).size == 8, "four lanes are side by side"


def test_rounding_to_fp16(probes):
    """Every fp16, the middle between it and the next one, numbers beside the middles, and what overflows."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[:-1] + halves[1:]) / 2
    x = np.concatenate([halves, middles, np.nextafter(middles, 0), np.nextafter(middles, 1e9), [65519, 65520, 1e9]])
    x = np.concatenate([x, -x, [np.inf, -np.inf, np.nan, 1e-41]]).astype(np.float32)
    found, back = np.zeros(x.size, np.uint16), np.zeros_like(x)
    launch(probes, "round_to_half", x, found, back, np.array(x.size, np.int32), threads=256)
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
    np.testing.assert_array_equal(found.view(np.float16), expected)
    np.testing.assert_array_equal(np.signbit(back), np.signbit(np.where(np.isnan(x), 0, x)))
    np.testing.assert_array_equal(back, expected.astype(np.float32))


def test_ballot(probes):
    x, ballots = (np.arange(64) % 3 == 0).astype(np.int32), np.zeros(64, np.uint32)
    launch(probes, "vote", x, ballots, threads=64)
    for warp in range(2):
        lanes = slice(32 * warp, 32 * warp + 32)
        assert (ballots[lanes] == sum(int(vote) << lane for lane, vote in enumerate(x[lanes]))).all()
