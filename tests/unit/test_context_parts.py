"""Tokens of each rank, heads of each rank, and models that axis context divides."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.errors import UserError
from mpitrain.layers import Flatten, Linear, MultiHeadAttention, Sequential
from mpitrain.parallel.context import TokenParts, rules
from mpitrain.parallel.context.heads import Heads
from mpitrain.parallel.context.ulysses import share_of


@pytest.mark.parametrize("order", [TokenParts.contiguous, TokenParts.zigzag])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_each_token_is_on_one_rank(order, size):
    for length in (1, 2, 7, 16, 33):
        parts = order(length, size)
        assert sorted(np.concatenate([parts.numbers(rank) for rank in range(size)]).tolist()) == list(range(length))
        assert max(parts.lengths) - min(parts.lengths) <= 2
        whole, again = np.random.default_rng(length).standard_normal((2, length, 3)), np.zeros((2, length, 3))
        for rank in range(size):
            own = parts.take(whole, rank)
            np.testing.assert_array_equal(own, whole[:, parts.numbers(rank)])
            parts.put(own, rank, again)
        np.testing.assert_array_equal(again, whole)


def test_zigzag_gives_all_ranks_the_same_work():
    """The keys that all queries of a rank see, of a causal mask."""
    for size in (2, 4, 8):
        parts = TokenParts.zigzag(16 * size, size)
        seen = [int((parts.numbers(rank) + 1).sum()) for rank in range(size)]
        assert max(seen) == min(seen)
        near = [int((TokenParts.contiguous(16 * size, size).numbers(rank) + 1).sum()) for rank in range(size)]
        assert max(near) > 1.4 * sum(near) / size


@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 6), (6, 2), (8, 1), (12, 3), (9, 3), (5, 5)])
def test_heads_read_the_keys_that_they_read_in_the_whole(heads, kv_heads):
    whole = Heads.of(MultiHeadAttention(heads * 2, heads, num_kv_heads=kv_heads))
    for size in range(1, heads + 1):
        begin = 0
        for rank in range(size):
            own, (queries, *rest) = share_of(whole, rank, size)
            assert own.first == queries[0] == begin
            assert own.num_heads == queries[1] - queries[0] > 0
            keys = [head for start, stop in rest for head in range(start, stop)]
            assert len(keys) == 2 * own.num_kv_heads
            for head in range(own.num_heads):
                read = keys[head // (own.num_heads // own.num_kv_heads)]
                assert read == heads + (begin + head) // (heads // kv_heads)
            assert [key + kv_heads for key in keys[: own.num_kv_heads]] == keys[own.num_kv_heads :]
            begin = queries[1]
        assert begin == heads


class Changed(Linear):
    """A Linear of reversed tokens: its class says nothing about tokens."""

    def forward(self, x, ctx):
        return super().forward(x[:, ::-1], ctx)


REFUSED = {
    "no attention": (lambda: models.build("mlp", (9,), 3), "auto", "the model has none: use axis data"),
    "no such way": (lambda: models.build("gpt:size=tiny", (9,), 9), "rings", "no way 'rings' to divide attention"),
    "few heads": (
        lambda: models.build("gpt:size=tiny", (9,), 9),
        "ulysses",
        "--context ulysses divides 4 heads, which 6 ranks cannot divide: the nearest number is --mesh context=4",
    ),
    "a layer of its own kind": (
        lambda: models.prepare(Sequential(MultiHeadAttention(8, 2), Changed(8, 8))),
        "auto",
        "axis context does not divide 1, a Changed",
    ),
    "all tokens at once": (
        lambda: models.prepare(Sequential(MultiHeadAttention(8, 2), Flatten(), Linear(72, 3))),
        "auto",
        "axis context does not divide 1, a Flatten: it may need all tokens of a row",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_it_does_not_divide(name):
    make, method, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        rules.check(make(), 6, (9,), method)


def test_a_layer_says_that_it_takes_tokens_one_by_one():
    class Own(Linear):
        pass

    class Other(Flatten):
        per_token = True

    model = models.prepare(Sequential(Own(8, 8), MultiHeadAttention(8, 2), Other()))
    rules.check(model, 6, (9,))


def test_what_follows_the_first_token_may_be_anything():
    rules.check(models.build("vit:size=tiny", (8, 8, 1), 10), 2, (8, 8, 1))
    rules.check(models.build("bert:size=tiny,vocabulary=50", (9,), 3), 2, (9,))
