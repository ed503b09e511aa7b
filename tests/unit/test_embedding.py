import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import Embedding, Linear, Sequential
from mpitrain.ops import OPS
from tests.gradients import check_layer


@pytest.mark.parametrize("shape", [(5,), (3, 4), (0, 4), (1, 1)])
def test_gradients(shape):
    x = np.random.default_rng(1).integers(0, 6, shape)
    check_layer(Embedding(6, 3), x)
    check_layer(Sequential(Embedding(6, 3), Linear(3, 2)), x)


@given(st.lists(st.integers(0, 9), max_size=30))
def test_gradient_is_a_sum_over_equal_ids(ids):
    ids = np.array(ids, int)
    dy = np.random.default_rng(len(ids)).standard_normal((len(ids), 3))
    dtable, expected = np.ones((10, 3)), np.ones((10, 3))
    np.add.at(expected, ids, dy)
    OPS["embedding_dw"](ids, dy, dtable)
    np.testing.assert_allclose(dtable, expected)


@pytest.mark.parametrize("token", [-1, 6])
def test_a_token_outside_the_table(token):
    layer = Embedding(6, 3)
    Arena(layer.named_parameters())
    with pytest.raises(UserError, match=f"token is {token}, but the embedding has rows 0 to 5"):
        layer.forward(np.array([[0, token]]), Context())
