"""Kernels of Llama's layers (rotary positions, SwiGLU) against NumPy in float64, right and with mistakes."""

import numpy as np
import pytest

from mpitrain.ops import OPS
from mpitrain.ops.rotary import rotary_table
from tests.kernels import cpu
from tests.kernels.arrays import NULL, TOLERANCE, Elements, f32, i32, i64, launch

pytestmark = cpu.needs_gxx
SHAPES = [  # one dimension, as many loops as possible; or all three
    {"grid": 3, "block": 256},
    {"grid": (2, 2, 2), "block": (9, 2)},
]


def rotary(kernels, bf16, shape_of, given, back, half=3, offset=2, seed=0):
    """Yield the heads that turn, among others of the same rows, and the others."""
    n, heads, tokens, positions = 2, 3, 5, 9
    elements, rng = Elements(bf16, seed), np.random.default_rng(seed)
    rows, value = elements.draw(n, tokens, heads + 2, 2 * half)
    table = rotary_table(positions, 2 * half, 10.0).astype(np.float32)
    of_tokens = rng.integers(0, positions, (n, tokens)) if given else None
    apart = [i64(stride // rows.itemsize) for stride in (rows.strides[0], rows.strides[2], rows.strides[1])]
    numbers = [i32(each) for each in (n, heads, tokens, half, positions, offset)]
    where = NULL if of_tokens is None else of_tokens
    launch(kernels, "rotary", rows[:, :, 1:], table, where, *numbers, f32(-1 if back else 1), *apart, **shape_of)
    OPS["rotary"].numpy(value.transpose(0, 2, 1, 3)[:, 1:-1], table.astype(np.float64), of_tokens, offset, back)
    yield elements.value(rows), value, 4
    elements.check_guards()


def swiglu(kernels, bf16, m, c, shape_of):
    """Yield (found, expected, scale) for y and dx."""
    elements = Elements(bf16, seed=c)
    (x, x_value), (dy, dy_value) = elements.draw(m, 2 * c, scale=3), elements.draw(m, c)
    y, dx, expected_y, expected_dx = (
        elements.room(m, c),
        elements.room(m, 2 * c),
        np.empty((m, c)),
        np.empty((m, 2 * c)),
    )
    launch(kernels, "swiglu_forward", x, y, i32(m), i32(c), **shape_of)
    launch(kernels, "swiglu_dx", x, dy, dx, i32(m), i32(c), **shape_of)
    OPS["swiglu"].numpy(x_value, expected_y)
    OPS["swiglu_dx"].numpy(x_value, dy_value, expected_dx)
    yield elements.value(y), expected_y, 20
    yield elements.value(dx), expected_dx, 20
    elements.check_guards()


def check(results, bf16):
    for found, expected, scale in results:
        tolerance = scale * TOLERANCE[bf16]
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("bf16", [0, 1])
@pytest.mark.parametrize("shape_of", SHAPES)
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("half", [3, 16])
def test_rotary(bf16, shape_of, given, back, half):
    """Also of heads whose halves are whole pieces."""
    check(rotary(cpu.build("rotary.cu", ELEMENT_BF16=bf16), bf16, shape_of, given, back, half), bf16)


def test_positions_outside_the_table_make_nan():
    x, table = np.ones((2, 1, 4, 2), np.float32), np.ones((5, 2), np.float32)
    positions, apart = np.array([[0, 5, 4, 2**40], [-1, 1, 2, -(2**32)]]), [i64(8), i64(8), i64(2)]
    numbers = [i32(each) for each in (2, 1, 4, 1, 5, 0)]
    launch(cpu.build("rotary.cu"), "rotary", x, table, positions, *numbers, f32(1), *apart, grid=1)
    outside = np.array([[False, True, False, True], [True, False, False, True]])
    np.testing.assert_array_equal(np.isnan(x[:, 0]).all(axis=2), outside)
    np.testing.assert_array_equal(np.isnan(x[:, 0]).any(axis=2), outside)


@pytest.mark.parametrize("bf16", [0, 1])
@pytest.mark.parametrize(("m", "c"), [(1, 1), (7, 64), (5, 33), (0, 4)])
@pytest.mark.parametrize("shape_of", SHAPES)
def test_swiglu(bf16, m, c, shape_of):
    check(swiglu(cpu.build("swiglu.cu", ELEMENT_BF16=bf16), bf16, m, c, shape_of), bf16)


MISTAKES = {
    "turned the other way": ("rotary.cu", "a * cos - b * sin", "a * cos + b * sin"),
    "the second half by what is new": ("rotary.cu", "b * cos + a * sin", "b * cos + b * sin"),
    "the same angle for all pairs": ("rotary.cu", "position * 2 * half : 0) + i", "position * 2 * half : 0)"),
    "sines of another pair": ("rotary.cu", "load<PIECE>(angles + half", "load<PIECE>(angles + 1"),
    "positions of the first sample": ("rotary.cu", "positions[(long long)n * tokens + t]", "positions[t]"),
    "no offset": ("rotary.cu", "(long long)offset + t", "t"),
    "heads of the first sample": ("rotary.cu", "n * sample_apart +", ""),
    "halves the other way round": ("swiglu.cu", "a * sigmoid_of(a) * b", "b * sigmoid_of(b) * a"),
    "rows of y in x": ("swiglu.cu", "x + at + (long long)row * c", "x + at"),
    "da without the slope of the gate": ("swiglu.cu", "s * (1 + a * (1 - s))", "s"),
    "db where da is": ("swiglu.cu", "store<PIECE>(dx + first + c, db", "store<PIECE>(dx + first, db"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found(mistake):
    file, right, wrong = MISTAKES[mistake]
    edits = []

    def put(whole):
        edits.append(right in whole)
        return whole.replace(right, wrong)

    broken = cpu.build(file, put)
    runs = {
        "rotary.cu": [
            lambda given=given: rotary(broken, 0, SHAPES[1], given, given, 16 if given else 3)
            for given in (False, True)
        ],
        "swiglu.cu": [lambda: swiglu(broken, 0, 5, 33, SHAPES[0])],
    }
    for run in runs[file]:
        try:
            check(run(), 0)
        except (cpu.Launch, AssertionError):
            return
    pytest.fail(f"right all the same, {edits}")
