import numpy as np
import pytest

from mpitrain.arena import Arena, Shard
from mpitrain.layers import Linear
from tests.gradients import check_layer


@pytest.mark.parametrize("shape", [(5, 3), (1, 3), (0, 3), (2, 4, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients(shape, bias):
    check_layer(Linear(3, 4, bias), np.random.default_rng(1).standard_normal(shape))


def test_parts_have_the_values_of_the_whole():
    layer = Linear(5, 7)
    arena = Arena(layer, seed=1, dtype=np.float64)
    for dim, size, names in ((0, 5, ["weight"]), (1, 7, ["weight", "bias"])):
        for rank in range(3):
            shard = Shard.even(dim, size, rank, 3)
            part = layer.part(shard)
            Arena(part, seed=1, dtype=np.float64)
            assert [name for name, _ in part.named_parameters()] == names
            assert (part.num_inputs, part.num_outputs) == part.weight.shape == shard.shape((5, 7))
            np.testing.assert_array_equal(part.weight.data, shard.take(arena.named_tensors()["weight"]))
            if part.bias is not None:
                place = Shard(0, shard.ranges)
                np.testing.assert_array_equal(part.bias.data, place.take(arena.named_tensors()["bias"]))
