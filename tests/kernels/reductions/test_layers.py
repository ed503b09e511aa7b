"""The kernels of layers and losses against their NumPy functions in float64."""

import math

import numpy as np
import pytest

from mpitrain.kernels.divide import divide_record
from mpitrain.ops import OPS
from mpitrain.ops.conv2d import plan_conv2d
from mpitrain.ops.cuda.launch import window_record
from mpitrain.ops.window import Window
from tests.kernels import cpu, formats
from tests.kernels.arrays import NULL, TOLERANCE, Elements, f32, i32, i64, launch
from tests.kernels.reductions import softmax

pytestmark = [cpu.needs_gxx, pytest.mark.parametrize("bf16", [0, 1])]


def numpy_of(function):
    return getattr(function, "numpy", function)


@pytest.mark.parametrize(
    ("m", "k", "warps", "gap"),
    [
        (1, 1, 1, 0),
        (19, 10, 1, 0),
        (9, 1000, 1, 0),
        (8, 33, 1, 7),
        (3, 33, 16, 0),
        (3, 16389, 16, 2),
        (2, 16400, 16, 0),
        (2, 50257, 16, 47),
    ],
)
@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize("how", ["in place", "kept", "apart", "weighted"])
def test_softmax_cross_entropy(bf16, m, k, warps, gap, smoothing, how):
    """By a warp a row or a block, also where rows are apart and begin anywhere, kept in shared memory or read again."""
    if k > 10000 and smoothing and how != "kept":
        return
    elements = Elements(bf16, seed=m)
    rows, _ = elements.draw(m, k + gap, scale=20)
    x, before = rows[:, :k], rows[:, k:].copy()
    x_value = elements.value(x)
    targets, counted = elements.rng.integers(0, k, m), elements.rng.integers(0, 4, m) > 0
    targets[0] = x_value[0].argmax()
    given, totals = np.where(counted, targets, -7), elements.room(m, 3, dtype=np.float32)
    dx = elements.room(m, k + gap, aligned=m != 8) if how == "apart" else rows
    kernels = cpu.build("softmax_cross_entropy.cu", ELEMENT_BF16=bf16, ROW_WARPS=warps)
    weights = elements.rng.uniform(0, 3, k).astype(np.float32) if how == "weighted" else NULL
    arguments = [rows, given, i64(-7), f32(smoothing), weights, totals, dx, *map(i32, (m, k, k + gap))]
    shared = k * x.itemsize if how == "kept" and warps > 1 else 0
    sizes = {"grid": (m if warps > 1 else -(-m // 8), 1, 1), "block": (512 if warps > 1 else 256, 1, 1)}
    launched = {"arguments": [*arguments, i32(shared > 0)], "shared_bytes": shared, "seed": m}
    kernels.launch("softmax_cross_entropy", **sizes, **launched)
    expected, sums = np.empty((m, k)), np.empty((m, 1))
    expected_losses = numpy_of(OPS["softmax_cross_entropy"])(x_value, targets, smoothing, expected, sums)
    numpy_of(OPS["softmax_cross_entropy_dx"])(expected, sums, targets, smoothing, counted)
    if how == "weighted":
        expected_losses, expected = expected_losses * weights[targets], expected * weights[targets, None]
    elements.check(totals[:, 1], expected_losses * counted, scale=20)
    elements.check(dx[:, :k], expected, scale=10)
    if how != "apart":
        np.testing.assert_array_equal(rows[:, k:], before)
    np.testing.assert_array_equal(totals[:, 0], counted)
    np.testing.assert_array_equal(totals[:, 2], (x_value.argmax(axis=1) == targets) & counted)


@pytest.mark.parametrize("warps", [1, 16])
def test_the_first_of_equal_logits_is_the_largest(bf16, warps):
    """A target counts as right if no logit before it is as large; without dlogits only the sums are written."""
    elements, k = Elements(bf16), 9000
    x, _ = elements.draw(4, k)
    x[:, [17, 4000, 8999]] = 0x41A0 if bf16 else 20  # the bits of 20
    totals, given = elements.room(4, 3, dtype=np.float32), np.array([17, 4000, 8999, 5])
    kernels = cpu.build("softmax_cross_entropy.cu", ELEMENT_BF16=bf16, ROW_WARPS=warps)
    arguments = [x, given, i64(-7), f32(0), NULL, totals, NULL, *map(i32, (4, k, k, 0))]
    sizes = {"grid": (4 if warps > 1 else 1, 1, 1), "block": (512 if warps > 1 else 256, 1, 1)}
    kernels.launch("softmax_cross_entropy", **sizes, arguments=arguments)
    np.testing.assert_array_equal(totals[:, 2], [1, 0, 0, 0])


def test_targets_outside_make_their_rows_nan(bf16):
    elements = Elements(bf16)
    x, _ = elements.draw(5, 7)
    totals, dx = elements.room(5, 3, dtype=np.float32), elements.room(5, 7)
    given = np.array([0, 7, 3, -1, 2**32 + 1])
    kernels = cpu.build("softmax_cross_entropy.cu", ELEMENT_BF16=bf16)
    sizes = map(i32, (5, 7, 7, 0))
    launch(kernels, "softmax_cross_entropy", x, given, i64(-100), f32(0), NULL, totals, dx, *sizes, grid=1)
    outside = np.array([False, True, False, True, True])
    np.testing.assert_array_equal(np.isnan(totals[:, 1]), outside)
    np.testing.assert_array_equal(np.isnan(elements.value(dx)), np.repeat(outside[:, None], 7, axis=1))
    np.testing.assert_array_equal(totals[:, 0], 1)


@pytest.mark.parametrize(
    ("m", "k", "warps"), [(1, 1, 1), (19, 10, 1), (9, 1000, 1), (8, 33, 1), (3, 33, 8), (2, 2051, 8)]
)
@pytest.mark.parametrize("in_place", [False, True])
def test_softmax(bf16, m, k, warps, in_place):
    """By a warp a row, or a block."""
    elements = Elements(bf16, seed=m)
    (x, x_value), (dy, dy_value) = elements.draw(m, k, scale=10), elements.draw(m, k)
    y, dx = (x, dy) if in_place else (elements.room(m, k), elements.room(m, k))
    kernels, grid = cpu.build("softmax.cu", ELEMENT_BF16=bf16, ROW_WARPS=warps), -(-m * warps // 8)
    launch(kernels, "softmax_forward", x, y, i32(m), i32(k), grid=grid)
    expected, expected_dx = np.empty((m, k)), np.empty((m, k))
    numpy_of(OPS["softmax"])(x_value, expected)
    elements.check(y, expected, scale=2)
    launch(kernels, "softmax_dx", y, dy, dx, i32(m), i32(k), grid=grid)
    numpy_of(OPS["softmax_dx"])(elements.value(y), dy_value, expected_dx)
    elements.check(dx, expected_dx, scale=4)


@pytest.mark.parametrize("warps", [1, 8])
@pytest.mark.parametrize("case", softmax.CASES)
def test_softmax_of_scores(bf16, case, warps):
    """As attention asks for it: some keys are hidden, rows are apart, and statistics are those of a part."""
    found = softmax.run(
        cpu.build("softmax.cu", ELEMENT_BF16=bf16, ROW_WARPS=warps, DROPS=1), case, bf16, seed=case.keys
    )
    for (mine, expected), scale in zip(found, (2, 10, 10, 4), strict=True):
        tolerance = scale * TOLERANCE[bf16]
        np.testing.assert_allclose(mine, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("warps", [1, 8])
def test_softmax_of_what_is_no_number(bf16, warps):
    """NaN and infinity make their row NaN; -infinity counts for nothing."""
    elements = Elements(bf16)
    x, _ = elements.draw(5, 300)
    kernels, wide = cpu.build("softmax.cu", ELEMENT_BF16=bf16, ROW_WARPS=warps), elements.value(x)
    wide[1, 299], wide[2, 130], wide[3, 7], wide[4] = np.nan, np.inf, -np.inf, -np.inf
    x[...] = (np.float32(wide).view(np.uint32) >> 16).astype(np.uint16) if bf16 else wide
    launch(kernels, "softmax_forward", x, x, i32(5), i32(300), grid=-(-5 * warps // 8))
    found = elements.value(x)
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), [False, True, True, False, True])
    np.testing.assert_allclose(found[[0, 3]].sum(axis=1), 1, rtol=1e-2)
    assert found[3, 7] == 0


WINDOWS = [
    (Window((2, 2), (2, 2)), (6, 8)),
    (Window((2, 2), (2, 2)), (7, 5)),  # pixels that fill no window
    (Window((3, 3), (2, 2), (1, 1)), (7, 8)),
    (Window((3, 2), (1, 2), (1, 0)), (5, 6)),
]
CONVOLUTIONS = [
    *WINDOWS,
    (Window((3, 3), (1, 1), (2, 2), (2, 2)), (6, 5)),
    (Window((1, 1)), (4, 3)),
    (Window((1, 1), (3, 2)), (7, 5)),  # most pixels are seen by no output
    (Window((4, 3), (4, 2), (3, 1), (6, 3)), (17, 9)),  # taps that meet a pixel in turn: 4 and 6 share a factor
]
SHAPES = [  # one dimension, as many loops as possible; or all three
    {"grid": 3, "block": 256},
    {"grid": (2, 2, 2), "block": (9, 2)},
]


@pytest.mark.parametrize(("window", "size"), WINDOWS)
@pytest.mark.parametrize(("bits", "relu"), [(8, 0), (8, 1), (16, 1)])
@pytest.mark.parametrize("channels", [5, 8])
@pytest.mark.parametrize("shape_of", SHAPES)
def test_max_pool(bf16, window, size, bits, relu, channels, shape_of):
    elements = Elements(bf16, seed=channels)
    x, x_value = elements.draw(3, *size, channels)
    shape = (3, *window.output(size), channels)
    y, argmax = elements.room(*shape), elements.room(*shape, dtype=np.dtype(f"u{bits // 8}"))
    dx, (dy, dy_value) = elements.room(*x.shape), elements.draw(*shape)
    kernels, by_value = cpu.build("pool.cu", ELEMENT_BF16=bf16, ARGMAX_BITS=bits), window_record(window, x)
    launch(kernels, "max_pool", x, y, argmax, i32(relu), by_value, **shape_of)
    expected, expected_argmax = np.empty(shape), np.empty(shape, np.uint8)
    numpy_of(OPS["max_pool_argmax"])(x_value, window, expected, expected_argmax, bool(relu))
    elements.check(y, expected)
    np.testing.assert_array_equal(argmax, expected_argmax)
    launch(kernels, "max_pool_dx", argmax, dy, dx, by_value, **shape_of)
    expected_dx = np.empty(x.shape)
    numpy_of(OPS["max_pool_dx"])(expected_argmax, dy_value, window, expected_dx)
    elements.check(dx, expected_dx, scale=2)
    y[...] = 0
    launch(kernels, "max_pool", x, y, NULL, i32(relu), by_value, **shape_of)
    elements.check(y, expected)


@pytest.mark.parametrize(("window", "size"), WINDOWS)
@pytest.mark.parametrize("channels", [3, 12])
@pytest.mark.parametrize("shape_of", SHAPES)
def test_mean_pool(bf16, window, size, channels, shape_of):
    elements = Elements(bf16, seed=channels)
    x, x_value = elements.draw(2, *size, channels)
    shape = (2, *window.output(size), channels)
    y, dx, (dy, dy_value) = elements.room(*shape), elements.room(*x.shape), elements.draw(*shape)
    kernels, by_value = cpu.build("pool.cu", ELEMENT_BF16=bf16, ARGMAX_BITS=8), window_record(window, x)
    part = f32(1 / math.prod(window.kernel))
    launch(kernels, "mean_pool", x, y, part, by_value, **shape_of)
    expected, expected_dx = np.empty(shape), np.empty(x.shape)
    numpy_of(OPS["mean_pool"])(x_value, window, expected)
    elements.check(y, expected)
    launch(kernels, "mean_pool_dx", dy, dx, part, by_value, **shape_of)
    numpy_of(OPS["mean_pool_dx"])(dy_value, window, expected_dx)
    elements.check(dx, expected_dx)


def inside(padded, window, size):
    return padded[:, window.padding[0] :, window.padding[1] :][:, : size[0], : size[1]]


@pytest.mark.parametrize("shape_of", SHAPES)
@pytest.mark.parametrize("channels", [7, 8])
def test_global_mean(bf16, channels, shape_of):
    elements = Elements(bf16)
    (x, x_value), (dy, dy_value) = elements.draw(3, 20, channels), elements.draw(3, channels)
    y, dx = elements.room(3, channels), elements.room(3, 20, channels)
    kernels = cpu.build("pool.cu", ELEMENT_BF16=bf16, ARGMAX_BITS=8)
    sizes = [f32(1 / 20), i32(3), i32(20), i32(channels)]
    launch(kernels, "global_mean", x, y, *sizes, grid=(1, 2))
    launch(kernels, "global_mean_dx", dy, dx, *sizes, divide_record(-(-channels // (8 if bf16 else 4))), **shape_of)
    elements.check(y, x_value.mean(axis=1))
    elements.check(dx, np.repeat(dy_value[:, None] / 20, 20, axis=1))


@pytest.mark.parametrize(("window", "size"), CONVOLUTIONS)
@pytest.mark.parametrize(("channels", "groups"), [(6, 1), (6, 2), (16, 2)])
@pytest.mark.parametrize("shape_of", SHAPES)
def test_columns(bf16, window, size, channels, groups, shape_of):
    """Columns times weights are the convolution, and adding columns back is the transpose of gathering them."""
    elements = Elements(bf16, seed=channels)
    x, x_value = elements.draw(2, *size, channels)
    output, depth = window.output(size), channels // groups
    taps = window.kernel[0] * window.kernel[1]
    columns = elements.room(groups, 2 * output[0] * output[1], taps * depth)
    by_value = window_record(window, x, groups)
    kernels = cpu.build("conv2d_im2col.cu", ELEMENT_BF16=bf16)
    launch(kernels, "im2col", x, columns, by_value, **shape_of)
    w = elements.rng.standard_normal((*window.kernel, depth, 4))
    y = np.empty((2, *output, 4))
    plan = plan_conv2d(window, size, groups, channels, 4)
    numpy_of(OPS["conv2d"])(x_value, w, None, y, plan)
    weights = w.reshape(taps * depth, groups, 4 // groups).swapaxes(0, 1)
    product = (elements.value(columns) @ weights).swapaxes(0, 1).reshape(y.shape)
    np.testing.assert_allclose(product, y, rtol=1e-9, atol=1e-9)

    drawn, drawn_value = elements.draw(*columns.shape)
    dx = elements.room(*x.shape)
    launch(kernels, "col2im", drawn, dx, by_value, **shape_of)
    left, right = (drawn_value * elements.value(columns)).sum(), (elements.value(dx) * x_value).sum()
    np.testing.assert_allclose(left, right, rtol=0, atol=(0.5 if bf16 else 1e-3))
    elements.check(dx, added_back(drawn_value.reshape(groups, 2, *output, taps, depth), window, size), scale=5)


def added_back(columns, window, size):
    groups, _, rows, cols, taps, depth = columns.shape
    padded = np.zeros((2, *window.padded(size), groups * depth))
    for tap in range(taps):
        top, left = (i * d for i, d in zip(divmod(tap, window.kernel[1]), window.dilation))
        place = padded[:, top :: window.stride[0], left :: window.stride[1]][:, :rows, :cols]
        place += columns[:, :, :, :, tap].transpose(1, 2, 3, 0, 4).reshape(2, rows, cols, groups * depth)
    return inside(padded, window, size)


@pytest.mark.parametrize(("m", "d", "most"), [(7, 200, 11), (300, 203, 11), (515, 200, 3), (300, 1100, 1)])
def test_embedding(bf16, m, d, most):
    """Also 300 ids: places in the order are counted over two tiles, by blocks; and runs of more than one part."""
    elements, parameters = Elements(bf16), Elements(0)
    (table, table_value), (dtable, dtable_value) = parameters.draw(11, d), parameters.draw(11, d)
    ids = np.append(np.random.default_rng(m).integers(0, most, m - 2), [11, -1])
    y, (dy, dy_value) = elements.room(m, d), elements.draw(m, d)
    kernels, order = cpu.build("embedding.cu", ELEMENT_BF16=bf16), np.full(m, -1, np.int32)
    launch(kernels, "embedding_forward", ids, table, y, i32(d), i64(11), grid=m, block=128)
    elements.check(y[:-2], table_value[ids[:-2]])
    assert np.isnan(elements.value(y[-2:])).all()
    if bf16:  # a copy of the table in bf16 gives the same bits
        rounded, again = formats.to_bf16(table), elements.room(m, d)
        narrow = cpu.build("embedding.cu", ELEMENT_BF16=1, TABLE_BF16=1)
        launch(narrow, "embedding_forward", ids, rounded, again, i32(d), i64(11), grid=m, block=128)
        np.testing.assert_array_equal(again[:-2], y[:-2])
    starts, parts = np.full(m, -1, np.int32), -(-m // 64)
    partials = parameters.room(2 * parts, d)
    launch(kernels, "embedding_order", ids, order, starts, i32(m), grid=parts)
    np.testing.assert_array_equal(order, np.argsort(ids, kind="stable"))
    np.testing.assert_array_equal(starts, np.searchsorted(ids[order], ids[order]))
    sizes = i32(m), i32(d), i64(11)
    launch(kernels, "embedding_dw", ids, order, starts, dy, dtable, partials, *sizes, grid=m, block=128)
    launch(kernels, "embedding_merge", ids, order, starts, dtable, partials, *sizes, grid=parts, block=128)
    np.add.at(dtable_value, ids[:-2], dy_value[:-2])
    parameters.check(dtable, dtable_value, scale=np.sqrt(m))


@pytest.mark.parametrize(("n", "d", "first"), [(1, 1, 0), (5, 100, 3), (40, 16, 2**33)])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5])
def test_dropout_masks_are_those_of_the_cpu(bf16, n, d, first, p):
    elements = Elements(bf16)
    seed, layer, step = 12345, 7, 999
    place = [i32(n), i32(d), i64(seed), i64(layer), i64(step), i64(first), i32(round(65536 * p))]
    kernels, mask = cpu.build("dropout.cu", ELEMENT_BF16=bf16), elements.room(n, d)
    launch(kernels, "dropout_mask", mask, *place, np.array(0, np.uint64))
    expected = np.empty((n, d))
    numpy_of(OPS["dropout_mask"])(expected, p, (seed, layer, step, first))
    np.testing.assert_array_equal(mask != 0, expected != 0)
    elements.check(mask, expected)
    again = elements.room(n, d)
    before = [i32(n), i32(d), i64(seed), i64(layer), i64(0), i64(0), place[-1]]
    launch(kernels, "dropout_mask", again, *before, np.array([step, first], np.int64))
    np.testing.assert_array_equal(again, mask)
    x, x_value = elements.draw(n, d)
    for y in (elements.room(n, d), x):
        launch(kernels, "dropout", x, y, *place, np.array(0, np.uint64))
        elements.check(y, x_value * expected)
