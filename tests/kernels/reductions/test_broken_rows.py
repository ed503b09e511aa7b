"""Kernels over rows and columns broken on purpose: cross-entropy, dropout, batch normalization, sums of columns."""

import numpy as np
import pytest

from mpitrain.ops import OPS
from tests.kernels import cpu
from tests.kernels.arrays import NULL, f32, i32, i64, launch

pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(900)]


def cross_entropy(kernels):
    """Yield found and expected results of rows that begin anywhere, by a block each, kept and not."""
    rng = np.random.default_rng(0)
    m, k, ld = 3, 19003, 19005
    for keeps in (1, 0):
        rows = (3 * rng.standard_normal((m, ld))).astype(np.float32)
        rows[0, [50, 51, 8000]] = 15
        x, targets = rows[:, :k].astype(np.float64), np.array([50, 3, 19002])
        totals, weights = np.zeros((m, 3), np.float32), np.linspace(1, 2, k, dtype=np.float32)
        arguments = [rows, targets, i64(-7), f32(0.1), weights, totals, rows, *map(i32, (m, k, ld, keeps))]
        sizes = {"grid": (m, 1, 1), "block": (512, 1, 1), "shared_bytes": keeps * 4 * ld}
        kernels.launch("softmax_cross_entropy", **sizes, arguments=arguments, seed=1)
        e, sums = np.empty((m, k)), np.empty((m, 1))
        losses = OPS["softmax_cross_entropy"].numpy(x, targets, 0.1, e, sums)
        OPS["softmax_cross_entropy_dx"].numpy(e, sums, targets, 0.1, None)
        yield totals[:, 1], losses * weights[targets]
        yield totals[:, 2], (x.argmax(axis=1) == targets).astype(float)
        yield 1000 * rows[:, :k], 1000 * e * weights[targets, None]


def dropout(kernels):
    """Yield the mask of an odd number of rows whose last tick has few columns."""
    mask, expected = np.full((8, 37), np.nan, np.float32), np.empty((5, 37))
    place = [i32(5), i32(37), i64(12), i64(3), i64(5), i64(2**33), i32(1 << 15), NULL]
    launch(kernels, "dropout_mask", mask, *place)
    OPS["dropout_mask"].numpy(expected, 0.5, (12, 3, 5, 2**33))
    yield mask[:5], expected
    yield np.isnan(mask[5:]), True
    x = np.random.default_rng(0).standard_normal((8, 37)).astype(np.float32)
    y = x.copy()
    launch(kernels, "dropout", y, y, *place)
    yield y, np.concatenate([x[:5] * expected, x[5:]])


def batchnorm(kernels):
    """Yield sums and dx with a ReLU, of which half is passed."""
    rng = np.random.default_rng(0)
    dy, x = (rng.standard_normal((70, 16)).astype(np.float32) for _ in range(2))
    kept, slopes = (rng.standard_normal((count, 16)).astype(np.float32) for count in (5, 3))
    sums, dx = np.zeros((1, 2, 16), np.float32), np.zeros_like(x)
    launch(kernels, "batchnorm_sums", dy, x, kept, i32(1), sums, i32(70), i32(16), i32(70), grid=1)
    launch(kernels, "batchnorm_dx", dy, x, kept, i32(1), slopes, dx, i32(70), i32(16))
    passed = dy * (kept[3] * (x - kept[0]) + kept[4] > 0)
    yield sums[0], np.array([passed.sum(axis=0), (passed * (x - kept[0])).sum(axis=0)])
    yield dx, slopes[0] * passed + slopes[1] * (x - kept[0]) + slopes[2]


def tail(kernels):
    """Yield all of that at the end of a residual block: y forward, then dy masked, and sums of it."""
    rng = np.random.default_rng(0)
    dy, x, residual = (rng.standard_normal((70, 16)).astype(np.float32) for _ in range(3))
    kept = rng.standard_normal((5, 16)).astype(np.float32)
    sums, y, sizes = np.zeros((1, 2, 16), np.float32), np.zeros_like(x), [i32(70), i32(16)]
    launch(kernels, "batchnorm_apply_residual", x, residual, kept, y, *sizes, i32(1))
    yield y, np.maximum(kept[3] * (x - kept[0]) + kept[4] + residual, 0)
    passed = dy * (y > 0)
    launch(kernels, "batchnorm_sums_residual", dy, x, y, kept, sums, *sizes, i32(70), grid=1)
    yield dy, passed
    yield sums[0], np.array([passed.sum(axis=0), (passed * (x - kept[0])).sum(axis=0)])
    launch(
        kernels, "batchnorm_evaluate_residual", x, residual, *kept[:3].copy(), kept[3] ** 2, y, *sizes, f32(0), i32(0)
    )
    yield y, (x - kept[2]) / np.abs(kept[3]) * kept[0] + kept[1] + residual


def mask(kernels):
    """Yield dy masked and its sums, of as many rows as are taken at once and a few more."""
    rng = np.random.default_rng(0)
    y, dy = (rng.standard_normal((531, 40)).astype(np.float32) for _ in range(2))
    expected, out = dy * (y > 0), np.ones(40, np.float32)
    launch(kernels, "mask_and_sum", y, dy, out, i32(531), i32(40), i32(531), i32(1), grid=1)
    yield dy, expected
    yield out, 1 + expected.sum(axis=0)


def columns(kernels):
    """Yield sums of rows that are apart, as many as are taken at once and a few more."""
    x, out = np.random.default_rng(0).standard_normal((531, 40)).astype(np.float32), np.zeros(32, np.float32)
    launch(kernels, "column_sum", x, out, i32(531), i32(32), i32(40), i32(531), i32(0), grid=1)
    yield out, x[:, :32].sum(axis=0)


def batchnorms(kernels):
    """Yield both: alone and at the end of a residual block."""
    yield from batchnorm(kernels)
    yield from tail(kernels)


def reductions(kernels):
    """Yield both sums of columns."""
    yield from columns(kernels)
    yield from mask(kernels)


RUNS = {"softmax_cross_entropy": cross_entropy, "dropout": dropout, "batchnorm": batchnorms, "reduce": reductions}
MACROS = {"softmax_cross_entropy": {"ROW_WARPS": 16}}
MISTAKES = {
    "a sum that does not follow the maximum": ("softmax_cross_entropy", "  sum *= exp2_approx", "  exp2_approx"),
    "threads' sums against other maxima": ("softmax_cross_entropy",
                                           "mine.sum * exp2_approx((mine.largest - largest) * LOG2_E)", "mine.sum"),
    "the last of equal logits": ("softmax_cross_entropy", "min(first, i + j)", "i + j"),
    "the elements behind the pieces left out": ("softmax_cross_entropy", "i = end + Threads::lane(); i < k;",
                                                "i = end + Threads::lane(); i < end;"),
    "smoothed without the weight": ("softmax_cross_entropy", "weight * smoothing / k", "smoothing / k"),
    "a target in another piece": ("softmax_cross_entropy", "here == j", "here % 16 == j"),
    "pieces not exchanged": ("dropout", "if (apart) bits.exchange(apart);", ""),
    "the row of another thread": ("dropout", "rows * SHARED + (own ^ apart)", "rows * SHARED + own + 0 * apart"),
    "rows behind the last": ("dropout", "if (row_of(apart) < n) write", "write"),
    "the pieces of another row": ("dropout", "items[apart] = read(row_of(apart), col)",
                                  "items[apart] = read(row_of(0), col)"),
    "an upper half with its lower half": ("dropout", "at[k / 2] >= threshold << 16", "at[k / 2] > threshold << 17"),
    "a ReLU without the shift": ("batchnorm", "fmaf(scale, x - mean, shift)", "fmaf(scale, x - mean, 0.f)"),
    "a ReLU in dx alone": ("batchnorm", "else if (relu)\n        value *= relu_slope(",
                           "else if (false)\n        value *= relu_slope("),
    "no residual": ("batchnorm", "if (ADDS) value += to_float(both.added.at[j]);", ""),
    "the residual after the ReLU": ("batchnorm", "out.at[j] = relu ? relu_of(value) : value;",
                                    "out.at[j] = relu ? relu_of(value - to_float(both.added.at[j])) + "
                                    "to_float(both.added.at[j]) : value;"),
    "a mask of x": ("batchnorm", "relu_slope(to_float(row.seen.at[i]))", "relu_slope(pixel)"),
    "dy not masked for the shortcut": ("batchnorm", "if (ADDS) store<PIECE>(masked", "if (false) store<PIECE>(masked"),
    "another row masked": ("reduce", "store<PIECE>(dy + row.at", "store<PIECE>(dy + row.at % 40"),
    "sums of what is masked": ("reduce", "sum.at[0][i] += values.at[i];", "sum.at[0][i] += to_float(row.slope.at[i]);"),
    "the second row twice": ("batchnorm", "add(both[0]);", "add(both[1]);"),
    "rows of n": ("reduce", "(long long)row * ld", "(long long)row * n"),
    "rows left behind": ("reduce", "for (; at < stop; at += apart) add_one(read(at, PIECE, true));", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_what_is_broken_was_right(name):
    for found, expected in RUNS[name](cpu.build(f"{name}.cu", **MACROS.get(name, {}))):
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found(mistake):
    name, right, wrong = MISTAKES[mistake]
    broken = cpu.build(f"{name}.cu", lambda text: text.replace(right, wrong), **MACROS.get(name, {}))
    try:
        same = [np.allclose(*pair, rtol=2e-4, atol=2e-4) for pair in RUNS[name](broken)]
    except (cpu.Launch, AssertionError):
        return
    assert not all(same)
