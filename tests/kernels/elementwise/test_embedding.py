"""Embeddings and their gradient against NumPy in float64."""

import numpy as np
import pytest

from tests.kernels import cpu, formats
from tests.kernels.arrays import Elements, i32, i64, launch

pytestmark = [cpu.needs_gxx, pytest.mark.parametrize("bf16", [0, 1])]


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
