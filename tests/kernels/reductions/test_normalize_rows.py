"""Kernels that normalize rows, with residual sums, against NumPy in float64: right and with mistakes."""

import numpy as np
import pytest

from mpitrain.ops import OPS
from mpitrain.ops.cuda.normalize_rows import held_by
from mpitrain.ops.gradient import Gradient
from tests.kernels import cpu
from tests.kernels.arrays import NULL, TOLERANCE, Elements, f32, i32, launch

pytestmark = cpu.needs_gxx
SHAPES = [(1, 1), (10, 64), (17, 100), (3, 768), (19, 256), (2, 2050), (1, 4096), (5, 37), (2, 8200)]


def build(name, bf16, c, edit=None, **long):
    """Return the kernels and the warps of a row; ``long``: those for long rows, which may be short."""
    warps, pieces = held_by(c, 8 if bf16 else 4)
    held = {"ROW_PIECES": 0} | long if long or not pieces else {"ROW_PIECES": pieces}
    if long:
        warps = 16
    return cpu.build(f"{name}.cu", edit, ELEMENT_BF16=bf16, ROW_WARPS=warps, **held), warps


def forward(name, elements, vectors, m, c, kernels, warps, residual, aligned):
    """Yield (found, expected, scale) for all results of forward, and return (s, mean and r, w) for backward."""
    x, x_value = elements.draw(m, c, scale=3)
    x[...], x_value = (x, x_value) if elements.bf16 else (x + np.float32(5), np.float64(x + np.float32(5)))
    other, other_value = elements.draw(m, c)
    (w, w_value), (b, b_value) = vectors.draw(c), vectors.draw(c)
    s, y = elements.room(m, c, aligned=aligned), elements.room(m, c)
    mean, r = vectors.room(m), vectors.room(m)
    bias, statistics = ([b], [mean, r]) if name == "layernorm" else ([], [r])
    rows = [x, other if residual else NULL, w, *bias, f32(1e-5), f32(1 / c), s if residual else x, *statistics, y]
    grid, block = (-(-m // 8), 256) if warps == 1 else (m, 32 * warps)
    launch(kernels, f"{name}_forward", *rows, i32(m), i32(c), grid=grid, block=block, seed=m)
    if residual:
        yield elements.value(s), x_value + other_value, 4
    s = s if residual else x
    value, expected, expected_r = elements.value(s), np.empty((m, c)), np.empty((m, 1))
    if name == "layernorm":
        OPS["layernorm"].numpy(value, w_value, b_value, 1e-5, np.empty((m, c)), expected_r, expected)
        yield vectors.value(mean), value.mean(axis=1), 5
    else:
        OPS["rmsnorm"].numpy(value, w_value, 1e-5, expected_r, expected)
    yield vectors.value(r) / expected_r[:, 0], np.ones(m), 30
    yield elements.value(y), expected, 20 * max(1, float(expected_r.max()))
    return s, statistics, w


def backward(name, elements, vectors, m, c, kernels, warps, residual, s, statistics, w, blocks=2):
    """Yield (found, expected, scale) for dx, dw and db."""
    (dy, dy_value), (other, other_value) = elements.draw(m, c), elements.draw(m, c)
    kinds = 2 if name == "layernorm" else 1
    partials, part = vectors.room(kinds, blocks, c), f32(1 / c)
    rows = [dy, s, other if residual else NULL, *statistics, w, part, dy, partials]
    block = 256 if warps == 1 else 32 * warps
    sizes = {"grid": (blocks, 1, 1), "block": (block, 1, 1), "shared_bytes": 4 * kinds * (c + 8)}
    kernels.launch(f"{name}_backward", **sizes, arguments=[*rows, i32(m), i32(c)], seed=c)
    value, r = elements.value(s), vectors.value(statistics[-1])[:, None]
    dx, sums = np.empty((m, c)), np.empty((2, c))
    if name == "layernorm":
        z = (value - vectors.value(statistics[0])[:, None]) * r
        OPS["layernorm_dw"].numpy(dy_value, z, sums)
        OPS["layernorm_dx"].numpy(dy_value, z, r, vectors.value(w), dx)
    else:
        gradient = Gradient(sums[0], False)
        OPS["rmsnorm_backward"].numpy(dy_value, value, r, vectors.value(w), gradient, dx)
    yield elements.value(dy), dx + other_value if residual else dx, 40 * max(1, float(r.max()))
    found = vectors.value(partials).sum(axis=1)
    for kind in range(kinds):
        yield found[kind], sums[kind], 10 * m * max(1, float(np.abs(value * r).max()))


def run(name, kernels, warps, bf16, m, c, residual=True, aligned=True, blocks=2):
    """Yield (found, expected, tolerance) for all results."""
    elements, vectors = Elements(bf16, seed=m), Elements(0, seed=c)
    left = yield from widened(forward(name, elements, vectors, m, c, kernels, warps, residual, aligned), bf16)
    yield from widened(backward(name, elements, vectors, m, c, kernels, warps, residual, *left, blocks=blocks), bf16)
    for each in (elements, vectors):
        each.check_guards()


def widened(results, bf16):
    left = None
    while True:
        try:
            found, expected, scale = next(results)
        except StopIteration as end:
            return end.value
        is_sum = found.ndim == 1
        yield found, expected, scale * TOLERANCE[0 if is_sum else bf16]
    return left


def check(results):
    for found, expected, tolerance in results:
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("bf16", [0, 1])
@pytest.mark.parametrize("name", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize(("m", "c"), SHAPES)
@pytest.mark.parametrize("residual", [False, True])
def test_rows(bf16, name, m, c, residual):
    """A warp or a block a row, one piece of it in each thread or several; also rows that begin anywhere."""
    check(run(name, *build(name, bf16, c), bf16, m, c, residual, aligned=m != 19))


@pytest.mark.parametrize("bf16", [0, 1])
@pytest.mark.parametrize("name", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize(("m", "c", "sums"), [(5, 1, 1), (3, 2050, 1), (4, 4096 + 8, 0), (3, 8199, 1), (3, 8199, 0)])
def test_long_rows(bf16, name, m, c, sums):
    """Rows that are read again, with sums in shared memory and in that of the partial sums; few blocks for the rows."""
    check(run(name, *build(name, bf16, c, ROW_SUMS=sums), bf16, m, c, m != 4, aligned=c != 2050))


def test_more_blocks_than_rows():
    """A block without rows leaves zeros."""
    for c in (64, 768):
        check(run("layernorm", *build("layernorm", 0, c), 0, 3, c, blocks=5))
    for sums in (0, 1):
        check(run("layernorm", *build("layernorm", 0, 500, ROW_SUMS=sums), 0, 3, 500, blocks=5))


def test_a_large_mean_costs_no_precision():
    m, c = 2, 300
    kernels, warps = build("layernorm", 0, c)
    x = (1e4 + np.random.default_rng(0).standard_normal((m, c))).astype(np.float32)
    w, b, y, statistics = (
        np.ones(c, np.float32),
        np.zeros(c, np.float32),
        np.zeros_like(x),
        np.zeros((2, m), np.float32),
    )
    rows = [x, NULL, w, b, f32(0), f32(1 / c), x, *statistics, y, i32(m), i32(c)]
    launch(kernels, "layernorm_forward", *rows, grid=m, block=32 * warps)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(axis=1, keepdims=True)) / exact.std(axis=1, keepdims=True)
    np.testing.assert_allclose(y, exact, rtol=1e-3, atol=2e-3)


MISTAKES = {
    "no root": ("layernorm", "1 / sqrtf(", "1 / ("),
    "zeros behind the end count": ("layernorm", "if (!CENTERED || place_of(p) + j < c) squares", "squares"),
    "a mean over the threads of a warp": ("layernorm", "Threads::sum(mean, sum_of)", "warp_sum(mean)"),
    "the sum is not written": ("layernorm", "    x.store(to.s + at, c, whole);\n", ""),
    "no weight in the mean": ("rmsnorm", "dot += w.at[p].at[j] * slope * z", "dot += slope * z"),
    "no gradient around the normalization": ("rmsnorm", "r * dot) + more", "r * dot)"),
    "r once in the mean": ("rmsnorm", "(s - mean) * r * dot", "(s - mean) * dot"),
    "dw of s, not of z": ("layernorm", "slopes.dw[p].at[j] += slope * z", "slopes.dw[p].at[j] += slope * z / r"),
    "sums of the last row only": ("layernorm", "slopes.db[CENTERED ? p : 0].at[j] += slope",
                                  "slopes.db[CENTERED ? p : 0].at[j] = slope"),
    "one buffer for the sums of all rows": ("rmsnorm", "turn ^= 1", "turn ^= 0"),
    "no barrier before the block's sums": ("layernorm", "= mine;\n    __syncthreads();", "= mine;"),
    "no barrier after the block's sums": ("layernorm", "      to[column] = sum;\n    }\n    __syncthreads();",
                                          "      to[column] = sum;\n    }"),
}  # fmt: skip


LONG = {
    "a long row's mean without its end": ("layernorm", "if (i < c) use(i, read(i));", ""),
    "a second piece in place of the first": ("layernorm", "use(i, first);", "use(i, second);"),
    "zeros behind the end of a long row": ("layernorm", "if (whole || i + j < c) squares", "squares"),
    "s of a long row is not written": ("layernorm", "store<PIECE>(to.s + at + i, pair.x, count(i), whole);", ""),
    "sums that do not begin with 0": ("rmsnorm", "each([&](int i) { put(i, {}, {}); });", ""),
    "sums of the last long row": ("layernorm", "of_b.at[j] += slope", "of_b.at[j] = slope"),
    "dw of s in long rows": ("rmsnorm", "of_w.at[j] += slope * z", "of_w.at[j] += slope * z / r"),
    "no gradient around a long row": ("layernorm", " + to_float(more.at[j])", ""),
    "one buffer for sums of long rows": ("rmsnorm", "turn ^= 1", "turn ^= 0"),
    "db over dw": ("layernorm", "shared + (c + PIECE - 1) / PIECE * PIECE", "shared + 8 * PIECE"),
    "all blocks write the first part": (
        "layernorm",
        "partials + (long long)blockIdx.x * c;\n    each",
        "partials;\n    each",
    ),
}


@pytest.mark.parametrize("mistake", LONG)
def test_mistakes_in_long_rows_are_found(mistake):
    name, right, wrong = LONG[mistake]

    def put(text):
        assert right in text
        return text.replace(right, wrong)

    built = [build(name, 0, c, put, ROW_SUMS=1) for c in (2050, 6000)]
    for seed in range(8):
        for (kernels, warps), c in zip(built, (2050, 6000)):
            try:
                check(run(name, kernels, warps, 0, 5 + seed, c))
            except (cpu.Launch, AssertionError):
                return
    pytest.fail("right all the same")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found(mistake):
    name, right, wrong = MISTAKES[mistake]
    edits = []

    def put(text):
        edits.append(right in text)
        return text.replace(right, wrong)

    for m, c in ((40, 100), (9, 700)):
        kernels, warps = build(name, 0, c, put)
        try:
            check(run(name, kernels, warps, 0, m, c, blocks=1))
        except (cpu.Launch, AssertionError):
            return
    pytest.fail(f"right all the same, {edits}")
