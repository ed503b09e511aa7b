"""The first and the last layer of a network of tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpitrain.arena import Arena
from mpitrain.context import PAD, WHOLE_ROWS, Context
from mpitrain.errors import UserError
from mpitrain.layers import FirstToken, LayerNorm, Linear, PostNormBlock, PreNormBlock, Sequential, TiedHead
from mpitrain.layers.tokens import TokenEmbedding
from mpitrain.ops.tokens import packed_sequences, row_lengths
from tests.gradients import check_layer
from tests.transformer_formulas import sequences

ROWS = np.array([[3, 1, 4, 1, 5], [2, 0, 5, PAD, PAD], [0, 0, 0, 0, PAD]])
END = 0


def run(layer, x, **options):
    arena = Arena(layer, dtype=np.float64)
    ctx = Context(dtype=np.float64, **options)
    return layer.forward(x, ctx).copy(), ctx, arena


@pytest.mark.parametrize("num_types", [0, 2])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("options", [{}, {"causal": False}, {"end_of_text": END}])
def test_gradients(options, norm, num_types):
    for rows in (ROWS, ROWS[:1], ROWS[:0]):
        layer = TokenEmbedding(
            6, 3, num_positions=7, num_types=num_types, norm=LayerNorm(3) if norm else None, **options
        )
        # a PAD gives no gradient, but central differences see the vector that it has: no number of a row counts there
        mask = Mask(rows)
        check_layer(Sequential(layer, mask), rows)


class Mask(FirstToken):
    """Zero for each PAD of the rows."""

    def __init__(self, rows):
        self.seen = (rows != PAD)[..., None]

    def forward(self, x, ctx):
        return x * self.seen

    def backward(self, dy, ctx):
        return dy * self.seen


def test_a_pad_changes_no_gradient():
    layer = TokenEmbedding(6, 3, num_positions=5)
    _, ctx, arena = run(layer, ROWS)
    arena.begin_step()
    layer.backward(np.ones((*ROWS.shape, 3)), ctx)
    np.testing.assert_array_equal(layer.weight.grad[:, 0], [np.count_nonzero(token == ROWS) for token in range(6)])


def test_tokens_of_the_context():
    x = ROWS
    _, ctx, _ = run(TokenEmbedding(6, 3), x)
    assert ctx.tokens == WHOLE_ROWS
    _, ctx, _ = run(TokenEmbedding(6, 3, causal=False), x)
    assert ctx.tokens.lengths.tolist() == [5, 3, 4]
    assert ctx.tokens.lengths.dtype == np.int64
    assert ctx.tokens.segments is None
    layer = TokenEmbedding(6, 3, causal=False, end_of_text=END)
    _, ctx, _ = run(layer, x)
    assert ctx.tokens.segments.tolist() == [[0] * 5, [0, 0, 1, 1, 1], [0, 1, 2, 3, 4]]
    assert ctx.tokens.positions.tolist() == [[0, 1, 2, 3, 4], [0, 1, 0, 1, 2], [0] * 5]
    layer.forward(x[:1], ctx)
    assert ctx.tokens == WHOLE_ROWS


@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), max_size=4))
def test_packed_sequences(rows):
    x = np.array(rows, int).reshape(-1, 6)
    segments, positions = packed_sequences(x, END)
    expected = [sequences(row, END) for row in x]
    if segments is None:
        assert not (x[:, :-1] == END).any()
        return
    np.testing.assert_array_equal(segments, [numbers for numbers, _ in expected])
    np.testing.assert_array_equal(positions, [places for _, places in expected])
    assert segments.dtype == positions.dtype == np.int64


def test_row_lengths():
    assert row_lengths(ROWS).tolist() == [5, 3, 4]
    assert row_lengths(ROWS[:1]) is None
    assert row_lengths(ROWS[:0]) is None


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(3, int), r"rows of tokens, \(N, T\) integers, not \(3,\) of int64"),
        (np.zeros((2, 3)), "of float64"),
        (np.zeros((2, 0), int), r"not \(2, 0\)"),
        (np.zeros((2, 5), int), "a row has 5 tokens, but the model has 4 positions"),
        (np.array([[0, 6]]), "a token is 6, but the embedding has rows 0 to 5"),
        (np.array([[PAD, 1]]), "a token is -1"),
        (np.array([[PAD - 1, PAD]]), "a token is -2"),
    ],
)
def test_rows_that_do_not_fit(x, message):
    layer = TokenEmbedding(6, 3, num_positions=4)
    Arena(layer)
    with pytest.raises(UserError, match=message):
        layer.forward(x, Context())


@pytest.mark.parametrize("bias", [False, True])
def test_tied_head(bias):
    tokens = TokenEmbedding(6, 3, num_positions=5)
    model = Sequential(tokens, Linear(3, 3), TiedHead(tokens, bias))
    check_layer(model, ROWS[:1])
    y, ctx, arena = run(model, ROWS[:1])
    inner = ctx[model[1]][0] @ model[1].weight.data + model[1].bias.data
    np.testing.assert_allclose(y[0], inner @ tokens.weight.data.T + (model[2].bias.data if bias else 0))
    assert [p.name for p in arena.parameters if p.uses == 2] == ["0.weight"]
    head = TiedHead(TokenEmbedding(6, 3), bias)
    head.weight.uses = 1
    check_layer(head, np.random.default_rng(0).standard_normal((2, 4, 3)))


def test_first_token():
    check_layer(FirstToken(), np.random.default_rng(0).standard_normal((2, 4, 3)))


@pytest.mark.parametrize("kind", [PreNormBlock, PostNormBlock])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_blocks(kind, dropout):
    def mlp():
        return Sequential(Linear(4, 5), Linear(5, 4))

    first, second = (mlp(), LayerNorm(4)), (mlp(), LayerNorm(4))
    order = (*first, *second) if kind is PostNormBlock else (*first[::-1], *second[::-1])
    check_layer(kind(*order, dropout=dropout), np.random.default_rng(3).standard_normal((2, 3, 4)))
