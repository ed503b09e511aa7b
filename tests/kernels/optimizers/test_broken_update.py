"""Updates broken on purpose: each of these mistakes compiles, and must not survive the comparison."""

import numpy as np
import pytest

from tests.kernels import cpu, formats
from tests.kernels.arrays import NULL, f32, i32, i64, launch

# the first test waits for all builds
pytestmark = [cpu.needs_gxx, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    "text",
    [
        ("store<PIECE>(slice.copy + i,", "store<PIECE>(slice.copy + (i & 4),"),
        ("    store<PIECE>(slice.w + i, w, count, aligned);\n", ""),
        ("apply<bf16>([](float x) { return x; }, w)", "apply<bf16>([](float x) { return x; }, g)"),
        ("if (slice.copy) store", "if (slice.copy && slice.decays) store"),
    ],
)
def test_broken_copies_of_weights_are_found(text):
    rng = np.random.default_rng(0)
    w, g = (rng.standard_normal(1000).astype(np.float32) for _ in range(2))
    expected, copy = w - np.float32(0.1) * g, np.zeros(1000, np.uint16)
    numbers = [f32(x) for x in (0.1, 1, 0, 0)]
    arrays = w, g, NULL, NULL, copy, NULL
    launch(cpu.build("update.cu", lambda whole: whole.replace(*text)), "sgd", *arrays, i64(1000), *numbers, i32(0))
    right = np.allclose(w, expected) and np.array_equal(copy, formats.to_bf16(expected.astype(np.float32)))
    assert not right
