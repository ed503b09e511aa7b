"""Index arithmetic: divisions by multiplication, and tensors of more elements than 32 bits can count."""

import numpy as np
import pytest

from mpitrain.kernels.convolution import Convolution, record_of
from mpitrain.kernels.convolution_launch import Operands, gemm_record
from mpitrain.kernels.convolution_plan import covers, make_plan
from mpitrain.kernels.divide import MOST, divide_record, fast_divide
from mpitrain.kernels.gemm import Tile
from mpitrain.ops import OPS
from mpitrain.ops.conv2d import plan_conv2d
from mpitrain.ops.cuda.launch import window_record
from mpitrain.ops.window import Window
from tests.kernels import cpu
from tests.kernels.arrays import f32, i32, i64, launch

POWERS = [2**i for i in range(31)]
DIVISORS = sorted({*range(1, 130), *(n + by for n in POWERS[2:] for by in (-1, 0, 1)), MOST - 1, MOST, 641, 6_700_417})


def drawn(seed, count):
    """Divisors of all lengths."""
    rng = np.random.default_rng(seed)
    return [int(rng.integers(1, 2 ** rng.integers(1, 32))) for _ in range(count)]


@pytest.mark.parametrize("divisors", [DIVISORS, range(1, 1 << 16), drawn(0, 1 << 14)], ids=["edges", "small", "drawn"])
def test_the_multiplier_is_exact_for_every_dividend(divisors):
    """n / d = floor(n M / 2^k) for all n < 2^31 if 0 < M d - 2^k < 2^k / 2^31: Granlund and Montgomery's theorem."""
    for divisor in divisors:
        _, multiplier, shift = fast_divide(divisor)
        assert 0 <= multiplier < 2**32, divisor
        assert 0 <= shift < 32, divisor
        excess = (2**32 + multiplier) * divisor - 2 ** (32 + shift)
        assert excess > 0, divisor
        assert excess * MOST < 2 ** (32 + shift), divisor


@pytest.mark.parametrize("divisor", [0, -1, 2**31])
def test_other_divisors_are_refused(divisor):
    with pytest.raises(ValueError, match="a division by"):
        fast_divide(divisor)


@cpu.needs_gxx
def test_kernels_divide():
    """Quotients and remainders are those of integers, at both sides of every step that is near an edge."""
    probes, rng = cpu.build("probes.cu", folder=cpu.PROBES), np.random.default_rng(1)
    for divisor in DIVISORS + drawn(1, 100):
        last = MOST // divisor * divisor
        steps = [0, divisor, last, last - divisor, int(rng.integers(0, MOST // divisor + 1)) * divisor]
        near = [n + by for n in steps for by in (-2, -1, 0, 1, 2)] + [MOST, MOST - 1, 2**30]
        n = np.array([x for x in near if 0 <= x <= MOST] + list(rng.integers(0, MOST, 100)), np.int32)
        found = np.full((2, len(n)), -1, np.int32)
        launch(probes, "divide", n, found[0], found[1], i32(len(n)), divide_record(divisor), grid=1, block=64)
        np.testing.assert_array_equal(found, np.divmod(n, divisor), err_msg=f"a division by {divisor}")


# The rest is about arrays of more than 2^31 elements. They are sparse files, and the loops of the kernels are cut down
# to what the last block would do: to the last items of the last image.

CUTS = {
    "unsigned i = blockIdx.x * blockDim.x + threadIdx.x": "unsigned i = unsigned(n) - blockDim.x + threadIdx.x",
    "unsigned i = blockIdx.y * blockDim.y + threadIdx.y": "unsigned i = unsigned(n) - 1",
    "unsigned i = blockIdx.z": "unsigned i = unsigned(n) - 1",
}
WINDOW = Window((3, 3), (1, 1), (1, 1))
SIZES = {  # images, height, width, channels; the large ones alone have more than 2^31 elements each
    "many images": (1_700_000, 8, 40, 4),
    "large images": (2, 23_171, 23_172, 4),
    "odd channels": (2, 30_001, 30_002, 3),
}
COLUMN_SIZES = SIZES | {"large images": (3, 15_000, 15_001, 4), "odd channels": (4, 15_001, 15_002, 3)}
ITEMS, PIECE = 24, 8  # of one row or image, at its end; elements of bf16


def last_block(text):
    for loop, cut in CUTS.items():
        text = text.replace(loop, cut)
    return text


def last_image(text):
    """Leave the last of the images that a block goes through."""
    return text.replace("image = blockIdx.y; image", "image = images - 1; image")


@pytest.fixture
def sparse(tmp_path):
    """Makes arrays of zeros that take memory, and room on a disk, where they are written."""

    def make(*shape, dtype=np.uint16):
        return np.memmap(tmp_path / f"{len(list(tmp_path.iterdir()))}", dtype, "w+", shape=shape)

    return make


def corner(x):
    """Return the last 8 rows and 30 columns of the last image, which are far from all edges but two."""
    return x[-1:, -8:, -30:]


def fill(array, seed):
    """Write small integers, which bf16 holds and sums exactly, to a sparse array; return them."""
    values = np.random.default_rng(seed).integers(-8, 9, array.shape)
    array[...] = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(np.float64)


def value(stored):
    return (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def check_end(found, expected):
    """Compare the last items; what comes before was left to other blocks."""
    channels = found.shape[-1]
    count = ITEMS * channels // -(-channels // PIECE)
    np.testing.assert_allclose(found.reshape(-1)[-count:], expected.reshape(-1)[-count:], rtol=2**-7, atol=1e-6)
    assert np.abs(expected.reshape(-1)[-count:]).max() > 0, "zeros would be found anywhere"


@cpu.needs_gxx
@pytest.mark.shim
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_pools_of_large_tensors(sparse, size):
    x, y, argmax = sparse(*size), sparse(*size), sparse(*size, dtype=np.uint8)
    assert x.size > 2**31
    pool, record = cpu.build("pool.cu", last_block, ELEMENT_BF16=1), window_record(WINDOW, x)
    values, end = fill(corner(x), 1), {"grid": 1, "block": ITEMS}
    expected, expected_argmax = np.empty(values.shape), np.empty(values.shape, np.uint8)
    launch(pool, "max_pool", x, y, argmax, i32(0), record, **end)
    OPS["max_pool_argmax"].numpy(values, WINDOW, expected, expected_argmax, False)
    check_end(value(corner(y)), expected)
    check_end(corner(argmax), expected_argmax)
    launch(pool, "mean_pool", x, y, f32(1 / 9), record, **end)
    OPS["mean_pool"].numpy(values, WINDOW, expected)
    check_end(value(corner(y)), expected)
    corner(argmax)[...] = expected_argmax
    launch(pool, "max_pool_dx", argmax, x, y, record, **end)
    OPS["max_pool_dx"].numpy(expected_argmax, values, WINDOW, expected)
    check_end(value(corner(y)), expected)
    launch(pool, "mean_pool_dx", x, y, f32(1 / 9), record, **end)
    OPS["mean_pool_dx"].numpy(values, WINDOW, expected)
    check_end(value(corner(y)), expected)


def last_tile(text):
    last = "(gemm.m + TILE_M - 1) / TILE_M * ((gemm.n + TILE_N - 1) / TILE_N) - 1"
    return text.replace("(blockIdx.x, gemm.m, gemm.n)", f"({last}, gemm.m, gemm.n)")


@cpu.needs_gxx
@pytest.mark.shim
@pytest.mark.parametrize("kind", ["forward", "dx"])
@pytest.mark.parametrize("size", [SIZES["many images"], (3, 15_000, 15_008, 4)], ids=["many images", "large images"])
def test_convolutions_of_large_tensors(sparse, size, kind):
    """The last block alone: the last pixels of the last image, with 4 channels and 4 outputs."""
    images, height, width, channels = size
    conv = Convolution(kind, images, (height, width), channels, channels, (3, 3), (1, 1), (1, 1))
    assert covers(conv)
    assert images * height * width % 64 == 0, "the last block has whole rows"
    x, y = (sparse(*size, dtype=np.float32) for _ in range(2))
    assert x.size > 2**31
    w = np.random.default_rng(0).integers(-3, 4, (3, 3, channels, channels)).astype(np.float32)
    corner(x)[...] = values = np.random.default_rng(1).integers(-8, 9, corner(x).shape)
    made = make_plan(conv, Tile("conv2d_simt", 64, 64, 32, 32), 1)
    record = gemm_record(made, conv, 0, Operands(x.ctypes.data, w.ctypes.data, y.ctypes.data))
    kernels = cpu.build("conv2d_simt.cu", last_tile, **dict(made.kernel.macros))
    argument = record_of(record, conv, made.launches[0][0])
    kernels.launch("conv2d_simt", grid=(1, 1, 1), block=made.launches[0][1].block, arguments=[argument])
    plan, expected = plan_conv2d(WINDOW, values.shape[1:3], 1, channels, channels), np.empty(values.shape)
    if kind == "forward":
        OPS["conv2d"].numpy(values.astype(np.float64), w.astype(np.float64), None, expected, plan)
    else:
        OPS["conv2d_dx"].numpy(values.astype(np.float64), w.astype(np.float64), expected, plan)
    check_end(corner(y), expected)


@cpu.needs_gxx
@pytest.mark.shim
@pytest.mark.parametrize("size", COLUMN_SIZES.values(), ids=COLUMN_SIZES)
def test_columns_of_large_tensors(sparse, size):
    images, height, width, channels = size
    x, columns = sparse(*size), sparse(images, height, width, 9, channels)
    kernels, record = cpu.build("conv2d_im2col.cu", last_block, ELEMENT_BF16=1), window_record(WINDOW, x)
    values, end = fill(corner(x), 1), {"grid": 1, "block": ITEMS}
    launch(kernels, "im2col", x, columns, record, **end)
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [padded[:, kh : kh + 8, kw : kw + 30] for kh in range(3) for kw in range(3)]
    check_end(value(corner(columns)), np.stack(taps, axis=3))
    slopes, expected = fill(corner(columns), 2), np.zeros_like(padded)
    launch(kernels, "col2im", columns, x, record, **end)
    for tap in range(9):
        kh, kw = divmod(tap, 3)
        expected[:, kh : kh + 8, kw : kw + 30] += slopes[..., tap, :]
    check_end(value(corner(x)), expected[:, 1:-1, 1:-1])


@cpu.needs_gxx
@pytest.mark.shim
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_means_of_large_tensors(sparse, size):
    """The gradient everywhere; the mean itself over a few pixels, since a CPU takes too long for large images."""
    images, height, width, channels = size
    dx, pool = sparse(*size), cpu.build("pool.cu", last_block, ELEMENT_BF16=1)
    y = sparse(images, channels)
    end, sizes = {"grid": 1, "block": ITEMS}, [f32(0.5), i32(images), i32(height * width), i32(channels)]
    slope = fill(y[-1:], 1)
    launch(pool, "global_mean_dx", y, dx, *sizes, divide_record(-(-channels // PIECE)), **end)
    check_end(value(corner(dx)), np.broadcast_to(slope / 2, corner(dx).shape))
    if height * width < 1000:
        values = fill(dx[-1:], 2)
        last = cpu.build("pool.cu", last_image, ELEMENT_BF16=1)
        launch(last, "global_mean", dx, y, *sizes, grid=-(-channels // 256))
        np.testing.assert_allclose(value(y[-1]), values.sum(axis=(0, 1, 2)) / 2, rtol=2**-7)


@cpu.needs_gxx
@pytest.mark.shim
@pytest.mark.parametrize(("rows", "cols"), [(70_000_000, 40), (3, 900_000_016)])
def test_rows_of_large_matrices(sparse, rows, cols):
    """Cast and rounded, of a batch of two; masked; and normalized."""
    x, end = sparse(2, rows, cols, dtype=np.float32), {"grid": 1, "block": 4}
    assert x.size > 2**31
    x[-1, -1, -16:] = np.arange(1, 17)
    sizes = [i64(rows * cols), i32(cols), i32(cols), i32(rows), i32(cols), i32(2)]
    y, rounded = sparse(2, rows, cols), sparse(2, rows, cols, dtype=np.float32)
    launch(cpu.build("cast_bf16.cu", last_block), "cast_rows", x, y, *sizes, **end)
    np.testing.assert_array_equal(value(y[-1, -1, -16:]), np.arange(1, 17))
    launch(cpu.build("round_tf32.cu", last_block), "round_rows", x, rounded, *sizes, **end)
    np.testing.assert_array_equal(rounded[-1, -1, -16:], np.arange(1, 17))

    mask = sparse(rows, cols)
    place = [i32(rows), i32(cols), i64(3), i64(5), i64(7), i64(0), i32(1 << 15), np.array(0, np.uint64)]
    launch(cpu.build("dropout.cu", last_block, ELEMENT_BF16=1), "dropout_mask", mask, *place, grid=1, block=2)
    ticks, tail, expected = -(-cols // 16), cols % 16 or 16, np.empty((1, 16))
    OPS["dropout_mask"].numpy(expected, 0.5, (3, 5, 7, rows * ticks - 1))  # a row of one tick, the last of all
    np.testing.assert_array_equal(value(mask[-1, -tail:]), expected[0, :tail])


@cpu.needs_gxx
@pytest.mark.shim
@pytest.mark.parametrize(("rows", "channels"), [(300_000_000, 8), (430_000_001, 6), (1_000_000_003, 3)])
def test_normalization_of_large_tensors(sparse, rows, channels):
    x, dx = sparse(rows, channels), sparse(rows, channels)
    assert x.size > 2**31
    values, kept = fill(x[-8:], 1), np.ones((5, channels), np.float32)
    kept[0], kept[3], kept[4] = np.arange(channels), 2 + np.arange(channels), 1
    kernels = cpu.build("batchnorm.cu", last_block, ELEMENT_BF16=1)
    joined = 8 // np.gcd(channels, 8)  # rows of a period
    pieces = int(channels * joined // 8)
    sizes, end = [i32(rows), i32(channels)], {"grid": 1, "block": pieces}
    launch(kernels, "batchnorm_apply", x, kept, dx, *sizes, i32(0), **end)
    last = (rows - 1) % joined + 1  # rows of the last period
    expected = (values - kept[0]) * kept[3] + kept[4]
    np.testing.assert_allclose(value(dx[-last:]), expected[-last:], rtol=2**-7)
    launch(kernels, "batchnorm_dx", x, x, kept, i32(0), kept[2:5].copy(), dx, *sizes, **end)
    expected = values * kept[2] + (values - kept[0]) * kept[3] + kept[4]
    np.testing.assert_allclose(value(dx[-last:]), expected[-last:], rtol=2**-6, atol=2**-4)
