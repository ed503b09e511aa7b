"""Parameters that are divided among ranks: their parts are those of the whole parameter, to the bit."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpitrain.arena import Arena
from mpitrain.layers import Conv2d, Layer, Linear, init
from mpitrain.parameter import Parameter, Shard, State

CASES = {
    "columns of a Linear": ((7, 12), 1, 1),
    "rows of a Linear": ((7, 12), 0, 1),
    "a bias": ((10,), 0, 1),
    "q, k and v": ((6, 18), 1, 3),
    "outputs of a convolution": ((3, 3, 4, 10), 3, 1),
    "inputs of a convolution": ((3, 3, 5, 4), 2, 1),
    "a line of a kernel": ((5, 1, 2, 2), 0, 1),
}


def bind(shape, shard, dtype, device_seed=3):
    p = Parameter(shape, init.lecun_uniform(5), shard=shard)
    arena = Arena([("layer.weight", p)], seed=device_seed, dtype=dtype)
    return p, arena


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parts_are_those_of_the_whole(case, count, dtype):
    shape, dim, groups = CASES[case]
    whole, _ = bind(shape, None, dtype)
    found = np.full(shape, np.nan, dtype)
    lengths = []
    for index in range(count):
        shard = Shard.even(dim, shape[dim], index, count, groups)
        part, arena = bind(shape, shard, dtype)
        assert (part.name, part.full_shape, part.shard) == ("layer.weight", shape, shard)
        assert part.data.shape == part.shape == shard.shape(shape)
        assert arena.num_parameters == part.size
        np.testing.assert_array_equal(part.data, shard.take(whole.data))
        shard.put(part.data, found)
        lengths.append(part.shape[dim])
    np.testing.assert_array_equal(found, whole.data)
    assert sum(lengths) == shape[dim]
    assert max(lengths) - min(lengths) <= groups
    if groups == 1:
        parts = [bind(shape, Shard.even(dim, shape[dim], i, count), dtype)[0].data for i in range(count)]
        np.testing.assert_array_equal(np.concatenate(parts, axis=dim), whole.data)


@given(st.data())
def test_any_ranges(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    dim = data.draw(st.integers(0, len(shape) - 1))
    cuts = sorted({0, shape[dim], *data.draw(st.lists(st.integers(0, shape[dim]), max_size=5))})
    pieces = list(pairwise(cuts))
    chosen = data.draw(st.lists(st.sampled_from([0, 1]), min_size=len(pieces), max_size=len(pieces)))
    whole, found = np.arange(np.prod(shape)).reshape(shape), np.full(shape, -1)
    for side in (0, 1):
        ranges = tuple(piece for piece, where in zip(pieces, chosen, strict=True) if where == side)
        if ranges:
            shard = Shard(dim, ranges)
            part = shard.take(whole)
            assert part.shape == shard.shape(shape)
            shard.put(part, found)
    np.testing.assert_array_equal(found, whole)


def test_a_model_of_parts_has_the_values_of_the_whole():
    """A Linear divided by outputs, and the bias with it; the values of other parameters do not change."""

    class Part(Layer):
        def __init__(self, index, count):
            shard = None if count == 1 else Shard.even(1, 9, index, count)
            self.first = Linear(4, 9)
            self.first.weight = Parameter((4, 9), init.lecun_uniform(4), shard=shard)
            self.second = Conv2d(2, 3, 3)

        def forward(self, x, ctx):
            raise NotImplementedError

        backward = forward

    tensors = [Arena(Part(i, n).named_parameters(), seed=1).named_tensors() for i, n in ((0, 1), (0, 2), (1, 2))]
    assert list(tensors[0]) == list(tensors[1])
    halves = [each["first.weight"] for each in tensors[1:]]
    np.testing.assert_array_equal(np.concatenate(halves, axis=1), tensors[0]["first.weight"])
    for name in ("first.bias", "second.weight", "second.bias"):
        np.testing.assert_array_equal(tensors[1][name], tensors[0][name])


def test_a_part_of_nothing():
    """More ranks than outputs: the last have none, and take no place in the arena."""
    part, arena = bind((4, 2), Shard.even(1, 2, 2, 3), np.float32)
    assert part.shape == (4, 0)
    assert arena.num_parameters == 0


def test_states_have_parts_too():
    state = State((6,), fill=1, shard=Shard.even(0, 6, 1, 2))
    arena = Arena([], [("mean", state)])
    assert (state.full_shape, state.shape, state.data.shape) == ((6,), (3,), (3,))
    np.testing.assert_array_equal(arena.states, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shard.even(0, 7, 0, 2, groups=3), "part 0 of 2 of 7 indices in 3 groups"),
        (lambda: Shard.even(0, 7, 2, 2), "part 2 of 2"),
        (lambda: Parameter((3, 4), init.zeros, shard=Shard(2, ((0, 1),))), "not a part of a tensor of shape"),
        (lambda: Parameter((3, 4), init.zeros, shard=Shard(1, ((2, 5),))), "not a part of a tensor of shape"),
    ],
)
def test_impossible_parts(make, message):
    with pytest.raises(ValueError, match=message):
        make()
