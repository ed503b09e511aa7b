import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import ColumnEmbeddings, Linear, Sequential
from mpitrain.layers.embedding import sample_dtype
from tests.gradients import check_layer


def samples(sizes, n, rng):
    codes = any(sizes) and 0 not in sizes
    part = 0 if codes else 0.25  # central differences must not move a code into the next row
    columns = [rng.integers(0, size, n) + part if size else rng.standard_normal(n) for size in sizes]
    return np.stack(columns, axis=1).astype(np.int64 if codes else np.float64).reshape(n, len(sizes))


@pytest.mark.parametrize(("sizes", "dims"), [((0, 5, 3), None), ((4, 0), 2), ((3, 6), (2, 3)), ((0, 0, 7, 0), 1)])
@pytest.mark.parametrize("n", [5, 1, 0])
def test_gradients(sizes, dims, n):
    x = samples(sizes, n, np.random.default_rng(n))
    layer = ColumnEmbeddings(sizes, dims)
    check_layer(layer, x)
    check_layer(Sequential(ColumnEmbeddings(sizes, dims), Linear(layer.num_outputs, 2)), x)


def test_outputs_are_numbers_then_vectors():
    layer = ColumnEmbeddings((3, 0, 2), (2, 1))
    Arena(layer.named_parameters())
    first, second = (table.weight.data for table in layer.tables)
    y = layer.forward(np.float32([[2, 0.5, 1], [0, -4, 0]]), Context())
    expected = [[0.5, *first[2], *second[1]], [-4, *first[0], *second[0]]]
    np.testing.assert_array_equal(y, np.float32(expected))


def test_a_code_outside_of_its_table():
    layer = ColumnEmbeddings((3, 2))
    Arena(layer.named_parameters())
    with pytest.raises(UserError, match="is 2, but the embedding has rows 0 to 1"):
        layer.forward(np.array([[0, 2]]), Context())


def test_wrong_arguments():
    with pytest.raises(UserError, match="all columns are numbers"):
        ColumnEmbeddings((0, 0))
    with pytest.raises(UserError, match="2 columns of codes"):
        ColumnEmbeddings((2, 2), (4,))


def test_type_of_the_samples():
    assert sample_dtype(Sequential(ColumnEmbeddings((3, 2)), Linear(4, 1))) is np.int64
    assert sample_dtype(Sequential(ColumnEmbeddings((3, 0)), Linear(4, 1))) is np.float32
