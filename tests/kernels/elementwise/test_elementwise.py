import numpy as np
import pytest

from mpitrain.kernels.divide import divide_record
from mpitrain.ops import OPS
from tests.kernels import cpu, formats
from tests.kernels.arrays import NULL, Elements, f32, i32, i64, launch

pytestmark = [cpu.needs_gxx, pytest.mark.parametrize("bf16", [0, 1])]
SIZES = [1, 3, 1024, 5001]


FORWARD = {"relu": OPS["relu"], "tanh": OPS["tanh"], "sigmoid": OPS["sigmoid"]}
BACKWARD = {"relu_dx": OPS["relu_dx"], "tanh_dx": OPS["tanh_dx"], "sigmoid_dx": OPS["sigmoid_dx"]}


@pytest.mark.parametrize("name", FORWARD)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("aligned", [True, False])
def test_forward(bf16, name, n, aligned):
    elements = Elements(bf16)
    x, x_value = elements.draw(n)
    y, expected = elements.room(n, aligned=aligned), np.empty(n)
    launch(cpu.build("elementwise.cu", ELEMENT_BF16=bf16), f"{name}_forward", x, y, i64(n))
    FORWARD[name].numpy(x_value, expected)
    elements.check(y, expected)


@pytest.mark.parametrize("name", BACKWARD)
@pytest.mark.parametrize("n", SIZES)
def test_backward(bf16, name, n):
    elements = Elements(bf16)
    (y, y_value), (dy, dy_value) = elements.draw(n, scale=0.5), elements.draw(n)
    dx, expected = elements.room(n), np.empty(n)
    launch(cpu.build("elementwise.cu", ELEMENT_BF16=bf16), name, y, dy, dx, i64(n))
    BACKWARD[name].numpy(y_value, dy_value, expected)
    elements.check(dx, expected, scale=2)


@pytest.mark.parametrize(("name", "oracle"), [("gelu", OPS["gelu"]), ("gelu_tanh", OPS["gelu_tanh"])])
def test_gelu(bf16, name, oracle):
    elements = Elements(bf16)
    x, x_value = elements.draw(999, scale=3)
    y, slope = elements.room(999), elements.room(999)
    launch(cpu.build("gelu.cu", ELEMENT_BF16=bf16), f"{name}_forward", x, y, slope, i64(999))
    expected = np.empty((2, 999))
    getattr(oracle, "numpy", oracle)(x_value, *expected)
    elements.check(y, expected[0])
    elements.check(slope, expected[1])
    (dy, dy_value), dx = elements.draw(999), elements.room(999)
    launch(cpu.build("gelu.cu", ELEMENT_BF16=bf16), f"{name}_dx", x, dy, dx, i64(999))
    elements.check(dx, dy_value * expected[1])


def test_silu(bf16):
    elements = Elements(bf16)
    x, x_value = elements.draw(999)
    (s, y, dx), (dy, dy_value) = (elements.room(999) for _ in range(3)), elements.draw(999)
    kernels = cpu.build("elementwise.cu", ELEMENT_BF16=bf16)
    launch(kernels, "silu_forward", x, s, y, i64(999))
    launch(kernels, "silu_dx", s, y, dy, dx, i64(999))
    expected_s, expected_y, expected_dx = np.empty((3, 999))
    OPS["silu"].numpy(x_value, expected_s, expected_y)
    elements.check(s, expected_s)
    elements.check(y, expected_y)
    OPS["silu_dx"].numpy(elements.value(s), elements.value(y), dy_value, expected_dx)
    elements.check(dx, expected_dx, scale=2)


@pytest.mark.parametrize("n", SIZES)
def test_add_relu(bf16, n):
    elements = Elements(bf16)
    (a, a_value), (b, b_value), (dy, dy_value) = (elements.draw(n) for _ in range(3))
    y, copy, kernels = elements.room(n), elements.room(n), cpu.build("elementwise.cu", ELEMENT_BF16=bf16)
    launch(kernels, "add_relu", a, b, y, i64(n))
    elements.check(y, np.maximum(a_value + b_value, 0))
    launch(kernels, "add_relu_dx", y, dy, copy, i64(n))
    elements.check(dy, dy_value * (elements.value(y) > 0))
    elements.check(copy, elements.value(dy))


@pytest.mark.parametrize("n", SIZES)
def test_squared_error(bf16, n):
    elements, targets = Elements(bf16), Elements(0)
    (y, y_value), (t, t_value) = elements.draw(n), targets.draw(n)
    difference, totals = elements.room(n), targets.room(3, 3)
    kernels = cpu.build("mse.cu", ELEMENT_BF16=bf16)
    launch(kernels, "squared_error", y, t, difference, totals, i64(n))
    elements.check(difference, y_value - t_value)
    targets.check(totals.sum(axis=0), [n, ((y_value - t_value) ** 2).sum(), 0], scale=10)
    before = elements.value(difference)
    launch(kernels, "squared_error_dx", difference, i64(n))
    elements.check(difference, 2 * before)


def test_add_multiply_in_place(bf16):
    elements = Elements(bf16)
    (a, a_value), (b, b_value) = elements.draw(777), elements.draw(777)
    kernels = cpu.build("elementwise.cu", ELEMENT_BF16=bf16)
    product = elements.room(777)
    launch(kernels, "multiply", a, b, product, i64(777))
    elements.check(product, a_value * b_value)
    launch(kernels, "add", a, b, a, i64(777))
    elements.check(a, a_value + b_value)


def test_nan_stays(bf16):
    elements = Elements(bf16)
    x, y = elements.room(5), elements.room(5)
    x[:] = formats.to_bf16(np.array([np.nan, 1, -1, 0, np.inf])) if bf16 else [np.nan, 1, -1, 0, np.inf]
    launch(cpu.build("elementwise.cu", ELEMENT_BF16=bf16), "relu_forward", x, y, i64(5))
    np.testing.assert_array_equal(elements.value(y), [np.nan, 1, 0, 0, np.inf])


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("aligned", [True, False])
def test_conversion(bf16, n, aligned):
    """To bf16, to nearest, and back, which changes nothing."""
    narrow, wide = Elements(1), Elements(0)
    x, x_value = (narrow if bf16 else wide).draw(n)
    y = wide.room(n, aligned=aligned) if bf16 else narrow.room(n, aligned=aligned)
    launch(cpu.build("cast_bf16.cu"), "to_fp32" if bf16 else "to_bf16", x, y, i64(n))
    expected = x_value if bf16 else formats.from_bf16(formats.to_bf16(x))
    np.testing.assert_array_equal(wide.value(y), expected)
    narrow.check_guards()
    wide.check_guards()


@pytest.mark.parametrize("n", [1, 16, 1027, 4096])
@pytest.mark.parametrize("ranks", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("aligned", [True, False])
def test_sum_over_ranks(bf16, ranks, n, aligned):
    """In fp32, in the order of the ranks, and rounded once: to the bit."""
    elements = Elements(bf16, seed=ranks * n)
    (x, x_value), y = elements.draw(ranks, n), elements.room(n, aligned=aligned)
    launch(cpu.build("sum_over_ranks.cu", ELEMENT_BF16=bf16), "sum_over_ranks", x, y, i32(ranks), i64(n))
    total = np.zeros(n, np.float32)
    for row in x_value.astype(np.float32):
        total += row
    np.testing.assert_array_equal(elements.value(y), formats.from_bf16(formats.to_bf16(total)) if bf16 else total)
    elements.check_guards()


def test_product_with_fp32_factors(bf16):
    """As of dropout's masks, whose factor bf16 does not hold."""
    elements = Elements(bf16)
    a, a_value = elements.draw(5001)
    out, b = elements.room(5001), (elements.rng.random(5001) > 0.1).astype(np.float32) * np.float32(1 / 0.9)
    launch(cpu.build("elementwise.cu", ELEMENT_BF16=bf16), "multiply_fp32", a, b, out, i64(5001))
    elements.check(out, a_value * b)


def test_cast_rows(bf16):
    """Rows 3 elements apart, a batch 5: cut, rounded, and filled up with zeros to 16 bytes; from bf16, packed."""
    rows, cols, batch = 4, 13 + bf16, 2
    ld, apart = cols + 3, rows * (cols + 3) + 5
    x = np.random.default_rng(0).standard_normal(batch * apart).astype(np.float32)
    elements = Elements(1)
    y = elements.room(batch, rows, 16)
    numbers = [i64(apart), i32(ld), i32(16), i32(rows), i32(cols), i32(batch)]
    name, stored = ("pack_rows", formats.to_bf16(x)) if bf16 else ("cast_rows", x)
    launch(cpu.build("cast_bf16.cu"), name, stored, y, *numbers)
    expected = np.zeros((batch, rows, 16))
    for i in range(batch):
        for j in range(rows):
            expected[i, j, :cols] = formats.from_bf16(formats.to_bf16(x[i * apart + j * ld :][:cols]))
    elements.check(y, expected)


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (4, 13), (70, 33), (32, 64), (33, 1)])
@pytest.mark.parametrize("turn", [False, True])
def test_rounding_to_tf32(bf16, rows, cols, turn):
    """Rows 3 elements apart, a batch 5: to nearest, in rows of whole 16 bytes, filled up with zeros."""
    if bf16:
        return
    batch, ld, elements = 2, cols + 3, Elements(0)
    apart, (inner, outer) = rows * ld + 5, (rows, cols) if turn else (cols, rows)
    x = np.random.default_rng(0).standard_normal(batch * apart).astype(np.float32)
    y_ld = -(-inner // 4) * 4
    y = elements.room(batch, outer, y_ld)
    sizes, kernels = [i64(apart), i32(ld), i32(y_ld), i32(rows), i32(cols)], cpu.build("round_tf32.cu")
    if turn:
        across, down = -(-cols // 32), -(-rows // 32)
        sizes += divide_record(across), divide_record(down)
        launch(kernels, "round_columns", x, y, *sizes, grid=across * down * batch, block=(32, 8), seed=1)
    else:
        launch(kernels, "round_rows", x, y, *sizes, i32(batch), grid=(2, 3, 2), block=(3, 5))
    expected = np.zeros((batch, outer, y_ld))
    for i in range(batch):
        whole = np.stack([x[i * apart + j * ld :][:cols] for j in range(rows)])
        expected[i, :, :inner] = formats.to_tf32(whole.T if turn else whole)
    np.testing.assert_array_equal(y, expected)
    elements.check(y, expected)


@pytest.mark.parametrize(
    ("rows", "n", "parts", "gap"),
    [(1, 1, 1, 0), (300, 130, 1, 0), (1000, 6, 7, 2), (77, 512, 3, 64), (5, 3, 1, 0), (2100, 64, 2, 8)],
)
def test_column_sums(bf16, rows, n, parts, gap):
    elements = Elements(bf16)
    x, x_value = elements.draw(rows, n + gap)
    x_value = x_value[:, :n]
    kernels, each = cpu.build("reduce.cu", ELEMENT_BF16=bf16), -(-rows // parts)
    sums = elements.room(parts, n, dtype=np.float32)
    options = {"grid": (-(-n // 128), parts)}
    launch(kernels, "column_sum", x, sums, i32(rows), i32(n), i32(n + gap), i32(each), i32(0), **options)
    total = elements.room(n, dtype=np.float32)
    total[:] = 1
    launch(kernels, "sum_rows", sums, total, i32(parts), i32(n), i32(parts), i32(1), grid=(-(-n // 128), 1))
    elements.check(total, 1 + x_value.sum(axis=0), scale=np.sqrt(rows))


@pytest.mark.parametrize(("parts", "n"), [(1, 1), (37, 33), (300, 64), (0, 5)])
@pytest.mark.parametrize("both", [False, True])
def test_sums_of_parts(bf16, parts, n, both):
    """Partial sums of a normalization, for one gradient or for two, of which the second is added to."""
    if bf16:
        return
    elements = Elements(0)
    (x, x_value), (second, before) = elements.draw(2, parts, n), elements.draw(n)
    first, grid = elements.room(n), (-(-n // 32), 1 + both)
    arguments = [x, first, second if both else NULL, i32(parts), i32(n), i32(0), i32(1)]
    launch(cpu.build("reduce.cu"), "sum_parts", *arguments, grid=grid, block=512)
    elements.check(first, x_value[0].sum(axis=0), scale=10)
    elements.check(second, before + x_value[1].sum(axis=0) if both else before, scale=10)


@pytest.mark.parametrize("n", SIZES)
def test_sum_of_squares(bf16, n):
    elements = Elements(0)
    x, x_value = elements.draw(n)
    parts = elements.room(3)
    launch(cpu.build("reduce.cu", ELEMENT_BF16=bf16), "sum_of_squares", x, parts, i64(n))
    np.testing.assert_allclose(parts.sum(), (x_value**2).sum(), rtol=1e-5)


W, DECAYS = 1000, np.arange(63) % 3 == 0


def update(bf16, elements, name, arrays, numbers):
    """Launch an update, also with a copy of the weights in bf16, which are rounded to nearest."""
    copy = elements.room(W, dtype=np.uint16) if bf16 else NULL
    launch(cpu.build("update.cu"), name, *arrays, copy, NULL, i64(W), *numbers)
    if bf16:
        np.testing.assert_array_equal(copy, formats.to_bf16(arrays[0]))
    elements.check_guards()


def arena(elements):
    (w, w_value), (g, g_value) = elements.draw(W), elements.draw(W)
    decays = DECAYS.astype(np.uint8)
    return w, w_value, g, g_value, decays, np.repeat(DECAYS, 16)[:W]


@pytest.mark.parametrize(("momentum", "nesterov"), [(0, 0), (0.9, 0), (0.9, 1)])
def test_sgd(bf16, momentum, nesterov):
    elements = Elements(0)
    w, w_value, g, g_value, decays, decayed = arena(elements)
    v, v_value = elements.draw(W)
    velocity = v if momentum else NULL
    numbers = [*map(f32, (0.1, 0.5, momentum, 0.01)), i32(nesterov)]
    update(bf16, elements, "sgd", (w, g, velocity, decays), numbers)
    step = 0.1 * (0.5 * g_value + 0.01 * w_value * decayed)
    v_value = momentum * v_value + step
    expected = w_value - (step + momentum * v_value if nesterov else v_value)
    elements.check(w, expected)
    if momentum:
        elements.check(v, v_value)


@pytest.mark.parametrize(("l2", "shrink"), [(0, 0), (0.02, 0), (0, 0.03)])
def test_adam(bf16, l2, shrink):
    elements = Elements(0)
    w, w_value, g, g_value, decays, decayed = arena(elements)
    (m, m_value), (v, _) = elements.draw(W), elements.draw(W)
    v[:] = v**2
    v_value = np.float64(v)
    numbers = map(f32, (0.1, 1e-6, 0.5, 0.9, 0.99, l2, shrink))
    update(bf16, elements, "adam", (w, g, m, v, decays), numbers)
    gradient = 0.5 * g_value + l2 * w_value * decayed
    m_value = 0.9 * m_value + 0.1 * gradient
    v_value = 0.99 * v_value + 0.01 * gradient**2
    elements.check(m, m_value)
    elements.check(v, v_value)
    elements.check(w, w_value * (1 - shrink * decayed) - 0.1 * m_value / (np.sqrt(v_value) + 1e-6), scale=10)


def test_adagrad(bf16):
    elements = Elements(0)
    w, w_value, g, g_value, decays, decayed = arena(elements)
    s, _ = elements.draw(W)
    s[:] = s**2
    s_value = np.float64(s)
    update(bf16, elements, "adagrad", (w, g, s, decays), map(f32, (0.1, 1e-6, 0.5, 0.02)))
    gradient = 0.5 * g_value + 0.02 * w_value * decayed
    s_value = s_value + gradient**2
    elements.check(s, s_value)
    elements.check(w, w_value - 0.1 * gradient / (np.sqrt(s_value) + 1e-6), scale=10)
