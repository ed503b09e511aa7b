import itertools
from contextlib import nullcontext

import numpy as np
import pytest

from mpitrain import context, models
from mpitrain.arena import Arena
from mpitrain.context import Context, Tokens
from mpitrain.errors import UserError
from mpitrain.layers import MultiHeadAttention, Sequential
from mpitrain.ops import OPS
from mpitrain.ops.dispatch import numpy_only
from mpitrain.ops.dropout import Masks
from tests.gradients import check_layer, numeric_gradient


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("n", "length", "size", "heads"), [(2, 5, 6, 3), (1, 1, 4, 1), (3, 7, 8, 2), (0, 4, 4, 2)])
def test_gradients(n, length, size, heads, causal):
    x = np.random.default_rng(0).standard_normal((n, length, size))
    check_layer(MultiHeadAttention(size, heads, causal), x)


@pytest.mark.parametrize(
    ("causal", "lengths", "segments", "kv_heads"),
    [
        (False, None, None, 2),
        (True, None, None, 2),
        (False, [3, 0, 6], None, 2),
        (True, [5, 1, 2], None, 1),
        (False, None, [[0, 0, 0, 2, 2, 3]] * 3, 2),
        (True, [5, 6, 6], [[1, 1, 1, 1, 1, 1], [0, 1, 2, 3, 4, 5], [-5, -5, -5, 7, 7, 9]], 1),
    ],
)
def test_central_differences_of_the_op(causal, lengths, segments, kv_heads):
    rng = np.random.default_rng(0)
    q, dy = rng.standard_normal((2, 3, 2, 4, 5))
    k, v = rng.standard_normal((2, 3, kv_heads, 6, 5))
    how = 0.4, causal, *(None if mask is None else np.array(mask) for mask in (lengths, segments))
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


def naive_attention(q, k, v, scale, causal, lengths, segments):
    """Return y, one query and one key after the other."""
    (n, heads, num_queries, _), num_keys, y = q.shape, k.shape[2], np.zeros(q.shape)
    for i, h, s in np.ndindex(n, heads, num_queries):
        own, sums, of_head = s + num_keys - num_queries, 0.0, h * k.shape[1] // heads
        for t in range(num_keys):
            hidden = causal and t > own
            hidden |= lengths is not None and t >= lengths[i]
            if not hidden and (segments is None or segments[i, t] == segments[i, own]):
                e = np.exp(scale * q[i, h, s] @ k[i, of_head, t])
                sums += e
                y[i, h, s] += e * v[i, of_head, t]
        y[i, h, s] /= sums or 1
    return y


@pytest.mark.parametrize("seed", range(8))
def test_the_op_does_what_loops_do(seed):
    rng = np.random.default_rng(seed)
    n, kv_heads, group, queries, keys = (int(x) for x in rng.integers(1, 6, 5))
    segments = np.sort(rng.integers(0, 3, (n, keys)), axis=1) if queries <= keys else None
    how = 0.4, bool(seed % 2), rng.integers(0, keys + 1, n) if seed % 4 > 1 else None, segments
    q = rng.standard_normal((n, kv_heads * group, queries, 3))
    k, v = rng.standard_normal((2, n, kv_heads, keys, 3))
    y = np.empty_like(q)
    OPS["attention"].numpy(q, k, v, y, np.empty(q.shape[:3]), *how)
    np.testing.assert_allclose(y, naive_attention(q, k, v, *how), atol=1e-12, err_msg=str((seed, how)))


def test_segments_need_a_key_for_each_query():
    q, k = np.ones((1, 1, 4, 2)), np.ones((1, 1, 3, 2))
    with pytest.raises(ValueError, match="4 queries cannot be the last of 3 tokens"):
        OPS["attention"](q, k, k, q.copy(), q[..., 0].copy(), 1.0, False, None, np.zeros((1, 3), np.int64))


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


def test_central_differences_with_dropout():
    rng = np.random.default_rng(0)
    (q, dy), (k, v) = rng.standard_normal((2, 2, 4, 5, 3)), rng.standard_normal((2, 2, 2, 6, 3))
    how = 0.4, True, None, None, Masks(0.3, (1, 2, 3, 4))
    y, dq, dk, dv, logs = np.empty_like(q), np.empty_like(q), np.empty_like(k), np.empty_like(v), np.empty(q.shape[:3])

    def objective():
        OPS["attention"].numpy(q, k, v, y, logs, *how)
        return float(np.sum(y * dy))

    objective()
    OPS["attention_dx"].numpy(dy, q, k, v, logs, dq, dk, dv, *how)
    for array, gradient in ((q, dq), (k, dk), (v, dv)):
        expected = numeric_gradient(objective, array, np.arange(array.size))
        np.testing.assert_allclose(gradient.reshape(-1), expected, rtol=1e-6, atol=1e-7)


def test_the_mask_of_dropout_is_that_of_a_matrix():
    """With q = 0 and v = 1 each query sees its kept keys, of T."""
    q, k, v = np.zeros((2, 3, 4, 2)), np.ones((2, 3, 6, 2)), np.broadcast_to(np.eye(6), (2, 3, 6, 6))
    y, mask = np.empty((2, 3, 4, 6)), np.empty((2 * 3 * 4, 6))
    OPS["attention"].numpy(q, k, v, y, np.empty((2, 3, 4)), 1.0, False, None, None, Masks(0.4, (7, 1, 5, 10)))
    OPS["dropout_mask"].numpy(mask, 0.4, (7, 1, 5, 10 * 3 * 4))
    np.testing.assert_allclose(y.reshape(24, 6), mask / 6, rtol=1e-12)
    assert 0 < (mask == 0).mean() < 1


@pytest.mark.parametrize("numpy", [False, True])
def test_dropout_is_the_same_in_any_split(numpy):
    layer, x = MultiHeadAttention(8, 4, num_kv_heads=2, dropout=0.5), np.ones((5, 6, 8), np.float32)
    x += np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    arena, found = Arena(layer.named_parameters(), seed=0), []
    with numpy_only() if numpy else nullcontext():
        for ends in ((0, 5), (0, 2, 5), (0, 1, 2, 3, 4, 5)):
            parts = []
            for start, stop in itertools.pairwise(ends):
                ctx = Context(seed=3)
                ctx.step, ctx.first = 4, start
                arena.begin_step()
                y = layer.forward(x[start:stop], ctx).copy()
                parts.append(np.stack([y, layer.backward(np.cos(y), ctx)]))
            found.append(np.concatenate(parts, axis=1))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-4, atol=1e-6)


def test_dropout_is_of_training_and_of_its_own_number():
    model = models.prepare(Sequential(MultiHeadAttention(4, 1, dropout=0.5), MultiHeadAttention(4, 1, dropout=0.5)))
    assert [layer.number for layer in model] == [0, 1]
    Arena(model.named_parameters(), seed=0)
    layer, x, found = model[0], np.random.default_rng(0).standard_normal((2, 9, 4)).astype(np.float32), []
    for training, number in ((False, 0), (False, 1), (True, 0), (True, 1)):
        layer.number = number
        found.append(layer.forward(x, Context(training=training)).copy())
    np.testing.assert_array_equal(found[0], found[1])
    for a, b in itertools.combinations(found[1:], 2):
        assert np.abs(a - b).max() > 0.01
    layer.dropout = 0
    np.testing.assert_array_equal(layer.forward(x, Context()), found[0])


def tokens_of(n, length, seed=0):
    """Return padding and packed sequences with positions of their own."""
    rng = np.random.default_rng(seed)
    segments = np.cumsum(rng.random((n, length)) < 0.3, axis=1)
    first = np.maximum.accumulate(np.where(np.diff(segments, axis=1, prepend=-1) > 0, np.arange(length), 0), axis=1)
    return Tokens(rng.integers(0, length + 1, n), segments, np.arange(length) - first)


@pytest.mark.parametrize("name", ["lengths", "segments", "positions", "all"])
@pytest.mark.parametrize("causal", [False, True])
def test_gradients_of_padded_and_packed_rows(name, causal, monkeypatch):
    tokens = tokens_of(3, 7)
    tokens = tokens if name == "all" else Tokens(**{name: getattr(tokens, name)})
    monkeypatch.setattr(context, "WHOLE_ROWS", tokens)
    x = np.random.default_rng(0).standard_normal((3, 7, 8))
    check_layer(MultiHeadAttention(8, 4, causal, num_kv_heads=2, rotary=10.0), x)


def test_packed_sequences_are_as_if_each_had_a_row():
    layer, x = MultiHeadAttention(8, 2, causal=True, rotary=10.0), np.random.default_rng(0).standard_normal((1, 9, 8))
    Arena(layer.named_parameters(), seed=0, dtype=np.float64)
    ctx = Context(dtype=np.float64)
    ctx.tokens = Tokens(None, np.repeat([0, 1], [4, 5])[None], np.array([[0, 1, 2, 3, 0, 1, 2, 3, 4]]))
    packed = layer.forward(x, ctx).copy()
    for part in (slice(0, 4), slice(4, 9)):
        alone = layer.forward(x[:, part], Context(dtype=np.float64))
        np.testing.assert_allclose(packed[:, part], alone, rtol=1e-10)


def test_padding_is_not_seen():
    layer, rng = MultiHeadAttention(8, 2, num_kv_heads=1, rotary=10.0), np.random.default_rng(0)
    arena = Arena(layer.named_parameters(), seed=0)
    x, found = rng.standard_normal((2, 6, 8)).astype(np.float32), []
    for contents in (0, 100):
        x[0, 4:] = contents
        ctx = Context()
        ctx.tokens = Tokens(np.array([4, 6]))
        arena.begin_step()
        y = layer.forward(x, ctx).copy()
        dy = np.ones_like(y)
        dy[0, 4:] = 0
        found.append((y[0, :4], y[1], layer.backward(dy, ctx).copy()))
    for before, after in zip(*found):
        np.testing.assert_array_equal(before, after)
    assert not found[0][2][0, 4:].any()


def test_errors():
    with pytest.raises(UserError, match="4 heads do not divide into 3 groups"):
        MultiHeadAttention(8, 4, num_kv_heads=3)
    with pytest.raises(UserError, match="the probability of dropout"):
        MultiHeadAttention(8, 4, dropout=1.0)
    with pytest.raises(UserError, match="heads of 3 numbers do not turn"):
        MultiHeadAttention(6, 2, rotary=100.0)
    with pytest.raises(UserError, match="does not divide into 3 heads"):
        MultiHeadAttention(4, 3)
    with pytest.raises(UserError, match=r"expects \(N, T, 4\), not \(2, 4\)"):
        MultiHeadAttention(4, 2).forward(np.ones((2, 4), np.float32), Context())
