import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import MultiHeadAttention
from mpitrain.ops import OPS
from mpitrain.ops.dispatch import numpy_only
from tests.gradients import check_layer, numeric_gradient


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("n", "length", "size", "heads"), [(2, 5, 6, 3), (1, 1, 4, 1), (3, 7, 8, 2), (0, 4, 4, 2)])
def test_gradients(n, length, size, heads, causal):
    x = np.random.default_rng(0).standard_normal((n, length, size))
    check_layer(MultiHeadAttention(size, heads, causal), x)


@pytest.mark.parametrize(("causal", "lengths"), [(False, None), (True, None), (False, [3, 0, 6]), (True, [5, 1, 2])])
def test_central_differences_of_the_op(causal, lengths):
    rng = np.random.default_rng(0)
    q, dy = rng.standard_normal((2, 3, 2, 4, 5))
    k, v = rng.standard_normal((2, 3, 2, 6, 5))
    how = 0.4, causal, None if lengths is None else np.array(lengths)
    y, dq, dk, dv, logs = np.empty_like(q), np.empty_like(q), np.empty_like(k), np.empty_like(v), np.empty(q.shape[:3])

    def objective():
        OPS["attention"](q, k, v, y, logs, *how)
        return float(np.sum(y * dy))

    objective()
    OPS["attention_dx"](dy, q, k, v, logs, dq, dk, dv, *how)
    for array, gradient in ((q, dq), (k, dk), (v, dv)):
        places = rng.permutation(array.size)[:40]
        expected = numeric_gradient(objective, array, places)
        np.testing.assert_allclose(gradient.reshape(-1)[places], expected, rtol=1e-6, atol=1e-7)


def test_a_token_sees_itself_and_those_before_it():
    layer, rng = MultiHeadAttention(4, 2, causal=True), np.random.default_rng(0)
    Arena(layer.named_parameters(), seed=0)
    x, ctx = rng.standard_normal((1, 6, 4)).astype(np.float32), Context()
    before = layer.forward(x, ctx).copy()
    x[0, 3] += 1
    changed = (layer.forward(x, ctx) != before).any(axis=2)
    np.testing.assert_array_equal(changed[0], np.arange(6) >= 3)


def test_heads_lie_side_by_side():
    """One head after the other, by hand."""
    layer, rng = MultiHeadAttention(6, 2), np.random.default_rng(0)
    Arena(layer.named_parameters(), seed=0, dtype=np.float64)
    x = rng.standard_normal((2, 5, 6))
    qkv = x @ layer.qkv.weight.data + layer.qkv.bias.data
    heads = []
    for h in range(2):
        q, k, v = (qkv[:, :, 6 * i + 3 * h : 6 * i + 3 * h + 3] for i in range(3))
        e = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(3))
        heads.append(e / e.sum(axis=2, keepdims=True) @ v)
    expected = np.concatenate(heads, axis=2) @ layer.out.weight.data + layer.out.bias.data
    np.testing.assert_allclose(layer.forward(x, Context(dtype=np.float64)), expected, rtol=1e-12)


def test_both_paths_do_the_same():
    x, results = np.random.default_rng(0).standard_normal((3, 20, 12)).astype(np.float32), []
    for numpy in (False, True):
        layer = MultiHeadAttention(12, 3, causal=True)
        arena, ctx = Arena(layer.named_parameters(), seed=0), Context()
        arena.begin_step()

        def step(layer=layer, ctx=ctx):
            y = layer.forward(x, ctx).copy()
            return y, layer.backward(np.cos(y), ctx).copy()

        if numpy:
            with numpy_only():
                found = step()
        else:
            found = step()
        results.append([*found, arena.gradients.copy()])
    for found, expected in zip(*results):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_no_dx_where_none_is_wanted():
    layer = MultiHeadAttention(4, 2)
    layer.needs_dx = False
    arena, ctx = Arena(layer.named_parameters()), Context()
    arena.begin_step()
    y = layer.forward(np.ones((2, 3, 4), np.float32), ctx)
    assert layer.backward(y.copy(), ctx).size == 0


def test_errors():
    with pytest.raises(UserError, match="does not divide into 3 heads"):
        MultiHeadAttention(4, 3)
    with pytest.raises(UserError, match=r"expects \(N, T, 4\), not \(2, 4\)"):
        MultiHeadAttention(4, 2).forward(np.ones((2, 4), np.float32), Context())
