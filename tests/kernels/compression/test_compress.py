"""Kernels of the codecs of gradients: the bits of their NumPy functions, but for sums of signs and of products."""

import numpy as np
import pytest

from tests.kernels import cpu
from tests.kernels.arrays import NULL, Elements, f32, i32, i64, launch
from tests.kernels.compression import codecs

pytestmark = cpu.needs_gxx
SIZES = [0, 1, 127, 128, 129, 255, 256, 257, 1000, 5003]


def room(elements, values, aligned=True):
    """Return values between guards."""
    stored = elements.room(values.size, dtype=values.dtype, aligned=aligned)
    stored[...] = values
    return stored


def bits(array):
    """Return numbers as they are compared: all NaN are alike."""
    return np.where(np.isnan(array), np.float32(np.nan), array).view(np.uint32)


@pytest.mark.parametrize("codec", codecs.BLOCKS)
@pytest.mark.parametrize("kind", codecs.KINDS)
@pytest.mark.parametrize("n", SIZES)
def test_codec(codec, kind, n):
    """Messages, errors and decoded numbers to the bit; sums of magnitudes to rounding."""
    kernels, elements = cpu.build(f"compress_{codec}.cu"), Elements(0)
    for feedback, add, aligned in ((False, False, True), (True, True, False), (True, False, True)):
        x = room(elements, codecs.numbers(kind, n, seed=n), aligned)
        before = codecs.numbers("normal", n if feedback else 0, seed=n + 1)
        error, expected_error = room(elements, before), before.copy()
        message = elements.room(codecs.message_bytes(codec, n), dtype=np.uint8)
        expected = np.full(message.size, 0xFF, np.uint8)
        codecs.encode(kernels, codec, x, error, message, seed=n)
        codecs.oracle(f"encode_{codec}", x, expected_error, expected, *codecs.FACTORS, *codecs.options(codec))
        if codec == "sign":
            check_signs(message, expected)
            expected_error = error_by_signs(x, before, message)
        elif codec == "bf16":
            np.testing.assert_array_equal(message, expected)
        else:
            check_blocks(codec, message, expected)
        np.testing.assert_array_equal(bits(error), bits(expected_error))
        y = room(elements, codecs.numbers("normal", n, seed=3))
        decoded = y.copy()
        codecs.decode(kernels, codec, message, y, add, seed=n)
        codecs.oracle(f"decode_{codec}", message, decoded, add, *codecs.options(codec))
        np.testing.assert_array_equal(bits(y), bits(decoded))
        elements.check_guards()


def check_blocks(codec, message, expected):
    """Compare scales, of which a NaN may be another one, and the payloads."""
    rows, others = (m.reshape(-1, 4 + codecs.PAYLOADS[codec]) for m in (message, expected))
    scales = [row[:, :4].copy().view(np.float32) for row in (rows, others)]
    np.testing.assert_array_equal(*map(bits, scales))
    np.testing.assert_array_equal(rows[:, 4:], others[:, 4:])


def check_signs(message, expected):
    rows, others = (m.reshape(-1, 36) for m in (message, expected))
    np.testing.assert_array_equal(rows[:, 4:], others[:, 4:])
    scales = [row[:, :4].copy().view(np.float32) for row in (rows, others)]
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(*scales, rtol=2e-6)


def error_by_signs(x, before, message):
    """Return the error that follows from the scales in a message."""
    if not before.size:
        return before
    inject, keep, inverse = map(np.float32, codecs.FACTORS)
    scales = message.reshape(-1, 36)[:, :4].copy().view(np.float32)[:, 0]
    with np.errstate(all="ignore"):
        u = x + inject * before
        rest = u - np.copysign(np.repeat(scales, 256)[: x.size], u)
        return keep * before + inverse * np.where(np.isfinite(rest), rest, 0)


def test_int8_of_long_blocks():
    """A block that a warp reads in many turns, and one of a few lanes."""
    kernels = cpu.build("compress_int8.cu")
    for block, n in ((16, 100), (4096, 9000)):
        x, error = codecs.numbers("normal", n, 0), codecs.numbers("normal", n, 1)
        count = -(-n // block)
        message, expected = (np.zeros(count * (4 + block), np.uint8) for _ in range(2))
        kept = error.copy()
        tail = i64(n), i32(block)
        launch(kernels, "encode_int8", x, error, message, codecs.feedback(codecs.FACTORS), *tail, seed=1)
        codecs.oracle("encode_int8", x, kept, expected, *codecs.FACTORS, block)
        np.testing.assert_array_equal(message, expected)
        np.testing.assert_array_equal(error, kept)


@pytest.mark.parametrize("kind", codecs.KINDS)
@pytest.mark.parametrize(("n", "counts"), [(1, [1]), (1023, [1, 7]), (1025, [1025]), (9001, [1, 90, 4500, 9001])])
def test_largest_places(kind, n, counts):
    """The choice of the oracle, of equal numbers too, whatever the parts are."""
    kernels, elements = cpu.build("largest_places.cu"), Elements(0)
    u = room(elements, codecs.numbers(kind, n, seed=n), aligned=n % 2 == 0)
    for k in counts:
        places, expected = elements.room(k, dtype=np.int64), np.empty(k, np.int64)
        codecs.largest(kernels, u, places, parts=1 + k % 4, seed=k)
        codecs.oracle("largest_places", u, expected)
        np.testing.assert_array_equal(places, expected)
        elements.check_guards()


def test_places():
    kernels, elements = cpu.build("places.cu"), Elements(0)
    u = room(elements, codecs.numbers("normal", 1000, 0))
    places = np.random.default_rng(1).choice(1000, 300, replace=False).astype(np.int32)
    values = elements.room(300)
    launch(kernels, "take_places", u, places, values, f32(1.7), i32(300), grid=1)
    np.testing.assert_array_equal(values, np.float32(1.7) * u[places])
    expected = u.copy()
    expected[places] += values
    launch(kernels, "put_places", u, places, values, i32(1), i32(300))
    np.testing.assert_array_equal(u, expected)
    launch(kernels, "put_places", u, places, values, i32(0), i32(300))
    expected[places] = values
    np.testing.assert_array_equal(u, expected)
    launch(kernels, "clear_places", u, places, i32(300))
    expected[places] = 0
    np.testing.assert_array_equal(u, expected)
    elements.check_guards()


def factor(number):
    return codecs.feedback((number, 0, 0))["inject"]


@pytest.mark.parametrize("kind", codecs.KINDS)
@pytest.mark.parametrize("n", [1, 5, 1027])
def test_carry(kind, n):
    kernels, elements = cpu.build("carry.cu"), Elements(0)
    x, error = (room(elements, codecs.numbers(k, n, n)) for k in (kind, "normal"))
    inject, keep, inverse = codecs.FACTORS
    for given in (error, error[:0]):
        bad, expected_bad, expected = np.zeros(1, np.float32), np.zeros(1, np.float32), x.copy()
        launch(kernels, "add_error", x, given if given.size else NULL, factor(inject), bad, i64(n))
        codecs.oracle("add_error", expected, given, inject, expected_bad)
        np.testing.assert_array_equal(bits(x), bits(expected))
        np.testing.assert_array_equal(np.isnan(bad), np.isnan(expected_bad))
        assert np.isnan(bad).all() == (not np.isfinite(x).all())
    for number in (0.0, np.nan):
        bad, expected = np.full(1, number, np.float32), error.copy()
        launch(kernels, "keep_rest", x, error, factor(keep), factor(inverse), bad, i64(n))
        codecs.oracle("keep_rest", x, expected, keep, inverse, bad)
        np.testing.assert_array_equal(bits(error), bits(expected))
        message = room(elements, codecs.numbers("normal", n, 0))
        launch(kernels, "spoil", message, bad, i64(n))
        assert np.isnan(message).all() == np.isnan(number)
    elements.check_guards()


@pytest.mark.parametrize("weight", [0.0, 3.0, 64.0, 0.7])
def test_factors_of_a_step(weight):
    weight, factors, expected = np.full(1, weight, np.float32), np.full(3, 77, np.float32), np.empty(3, np.float32)
    launch(cpu.build("carry.cu"), "step_factors", weight, factors, grid=1)
    codecs.oracle("step_factors", weight, expected)
    np.testing.assert_array_equal(factors, expected)


@pytest.mark.parametrize(("n", "r", "m"), [(1, 1, 1), (7, 3, 33), (40, 4, 64), (33, 9, 10)])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("shape_of", [{"grid": 3}, {"grid": (2, 2), "block": (9, 2)}])
def test_thin_product(n, r, m, add, shape_of):
    elements, rng = Elements(0), np.random.default_rng(n)
    left, right, out = (room(elements, rng.standard_normal(s).astype(np.float32)) for s in (n * r, r * m, n * m))
    expected = out.reshape(n, m).copy()
    launch(cpu.build("thin_product.cu"), "thin_product", left, right, out, i32(n), i32(r), i32(m), i32(add), **shape_of)
    codecs.oracle("thin_product", left.reshape(n, r), right.reshape(r, m), expected, add)
    np.testing.assert_array_equal(out.reshape(n, m), expected)
    elements.check_guards()


@pytest.mark.parametrize(("n", "r"), [(1, 1), (40, 4), (3, 5), (2500, 3)])
def test_orthonormalize(n, r):
    """Dependent columns, and those beyond the rows, become zero; a NaN stays in its column and those behind it."""
    elements, kernels = Elements(0), cpu.build("orthonormalize.cu")
    columns = np.random.default_rng(n).standard_normal((n, r)).astype(np.float32)
    if r > 3:
        columns[:, 2] = columns[:, 0] - 3 * columns[:, 1]
    for bad in (False, True):
        columns[n - 1, r - 1] = np.nan if bad else columns[n - 1, r - 1]
        found, done, expected = (
            room(elements, columns.reshape(-1)),
            elements.room(r, n, dtype=np.float64),
            columns.copy(),
        )
        launch(kernels, "orthonormalize", found, done, i32(n), i32(r), grid=1, block=1024, seed=1)
        codecs.oracle("orthonormalize", expected)
        np.testing.assert_allclose(found.reshape(n, r), expected, rtol=0, atol=1e-6)
        elements.check_guards()


def test_basis():
    kernels, n, r = cpu.build("basis.cu"), 300, 5
    rng = np.random.default_rng(0)
    basis, draws = rng.standard_normal((2, n, r)).astype(np.float32)
    basis[:, [1, 4]] = 0
    basis[n - 1, 3] = np.nan
    expected = basis.copy()
    launch(kernels, "restart_columns", basis, draws, i32(n), i32(r), grid=r)
    codecs.oracle("restart_columns", expected, lambda: draws)
    np.testing.assert_array_equal(basis, expected)
    for place in (None, n * r - 1):
        found = draws.copy()
        if place is not None:
            found.flat[place] = np.inf
        launch(kernels, "keep_finite", found, basis, i32(n * r), grid=1)
        np.testing.assert_array_equal(basis, draws if place is None else 0)
