"""Masks of dropout: the bits of the CPU's."""

import numpy as np
import pytest

from mpitrain.ops import OPS
from tests.kernels import cpu
from tests.kernels.arrays import Elements, i32, i64, launch

pytestmark = [cpu.needs_gxx, pytest.mark.parametrize("bf16", [0, 1])]


@pytest.mark.parametrize(("n", "d", "first"), [(1, 1, 0), (5, 100, 3), (40, 16, 2**33)])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5])
def test_dropout_masks_are_those_of_the_cpu(bf16, n, d, first, p):
    elements = Elements(bf16)
    seed, layer, step = 12345, 7, 999
    place = [i32(n), i32(d), i64(seed), i64(layer), i64(step), i64(first), i32(round(65536 * p))]
    kernels, mask = cpu.build("dropout.cu", ELEMENT_BF16=bf16), elements.room(n, d)
    launch(kernels, "dropout_mask", mask, *place, np.array(0, np.uint64))
    expected = np.empty((n, d))
    OPS["dropout_mask"].numpy(expected, p, (seed, layer, step, first))
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
