import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context, Tokens
from mpitrain.layers import MultiHeadAttention
from mpitrain.ops import OPS
from mpitrain.ops.rotary import rotary_table
from tests.cpu_kernels import levels, near, use
from tests.gradients import check_layer

rotary = OPS["rotary"]


def turned(x, positions, base):
    """Return x (N, H, T, D) turned as complex numbers (a + b i) exp(i angle)."""
    half = x.shape[3] // 2
    angles = positions[:, None, :, None] * base ** (-2 * np.arange(half) / x.shape[3])
    numbers = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
    return np.concatenate([numbers.real, numbers.imag], axis=3)


@pytest.mark.parametrize("offset", [0, 5])
def test_pairs_turn(offset):
    rng = np.random.default_rng(0)
    x, table = rng.standard_normal((2, 3, 7, 6)), rotary_table(40, 6, 50.0)
    positions = np.broadcast_to(np.arange(7) + offset, (2, 7))
    y = x.copy()
    rotary.numpy(y, table, None, offset, False)
    np.testing.assert_allclose(y, turned(x, positions, 50.0), atol=1e-12)
    rotary.numpy(y, table, positions, 0, True)
    np.testing.assert_allclose(y, x, atol=1e-12)
    positions = rng.integers(0, 40, (2, 7))
    rotary.numpy(y, table, positions, 3, False)
    np.testing.assert_allclose(y, turned(x, positions, 50.0), atol=1e-12)


def test_scores_depend_on_the_distance_alone():
    rng, table = np.random.default_rng(0), rotary_table(100, 8, 10_000.0)
    q, k = rng.standard_normal((2, 1, 1, 1, 8))
    scores = []
    for first in (0, 7, 90):
        a, b = q.copy(), k.copy()
        rotary.numpy(a, table, None, first + 5, False)
        rotary.numpy(b, table, None, first, False)
        scores.append(float((a * b).sum()))
    np.testing.assert_allclose(scores, scores[0], rtol=1e-12)


def test_positions_outside_the_table():
    x, table = np.ones((1, 1, 3, 4)), rotary_table(5, 4, 10.0)
    for positions, offset in ((None, 3), (None, -1), (np.array([[0, 5, 1]]), 0), (np.array([[0, -1, 1]]), 0)):
        with pytest.raises(IndexError, match="not in a table of 5"):
            rotary(x, table, positions, offset, False)
    np.testing.assert_array_equal(x, 1)


@levels
def test_in_c(kernels, level, threads):
    use(level, threads)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        n, heads, length, half = (int(x) for x in rng.integers((0, 1, 1, 1), (4, 5, 60, 40)))
        rows = rng.standard_normal((n, length, heads + 2, 2 * half), np.float32)
        table, wide = rotary_table(64, 2 * half, 100.0).astype(np.float32), rows.astype(np.float64)
        how = (rng.integers(0, 64, (n, length)) if seed % 2 else None), int(rng.integers(0, 5)), bool(seed % 3)
        assert kernels.rotary(rows.transpose(0, 2, 1, 3)[:, 1:-1], table, *how)
        rotary.numpy(wide.transpose(0, 2, 1, 3)[:, 1:-1], table.astype(np.float64), *how)
        near(rows, wide, 1e-6, seed)
    x, table = np.ones((2, 3, 4, 6), np.float32), np.ones((8, 6), np.float32)
    assert kernels.rotary(x, table, None, 4, False)
    for positions, offset in ((None, 5), (None, -1), (np.full((2, 4), 8), 0), (np.full((2, 4), -1), 0)):
        assert not kernels.rotary(x, table, positions, offset, False)
    assert not kernels.rotary(x[..., ::-1], table, None, 0, False)
    assert not kernels.rotary(x, table[:, :4].copy(), None, 0, False)


def test_the_layer_turns_q_and_k():
    """By hand, of two packed sequences."""
    layer, rng = MultiHeadAttention(8, 2, causal=True, num_kv_heads=1, rotary=20.0), np.random.default_rng(0)
    Arena(layer.named_parameters(), seed=0, dtype=np.float64)
    x, ctx = rng.standard_normal((1, 5, 8)), Context(dtype=np.float64)
    positions = np.array([[0, 1, 2, 0, 1]])
    ctx.tokens = Tokens(None, np.array([[0, 0, 0, 1, 1]]), positions)
    qkv = (x @ layer.qkv.weight.data + layer.qkv.bias.data).reshape(1, 5, 4, 4).swapaxes(1, 2)
    qk, v, heads = turned(qkv[:, :3], positions, 20.0), qkv[0, 3], []
    for h in range(2):
        e = np.exp(qk[0, h] @ qk[0, 2].T / 2)
        e *= np.tril(np.ones((5, 5)))
        e[3:, :3] = 0
        heads.append(e / e.sum(axis=1, keepdims=True) @ v)
    expected = np.concatenate(heads, axis=1) @ layer.out.weight.data + layer.out.bias.data
    np.testing.assert_allclose(layer.forward(x, ctx)[0], expected, rtol=1e-10)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_gradients(kv_heads):
    x = np.random.default_rng(0).standard_normal((2, 5, 16))
    check_layer(MultiHeadAttention(16, 4, True, False, num_kv_heads=kv_heads, rotary=10.0), x)


def test_a_sequence_may_stand_anywhere():
    """Only distances count: y does not change where all positions grow alike."""
    layer, x = MultiHeadAttention(8, 2, rotary=100.0), np.random.default_rng(0).standard_normal((1, 6, 8))
    Arena(layer.named_parameters(), seed=0, dtype=np.float64)
    found = []
    for first in (0, 3, 1000):
        ctx = Context(dtype=np.float64)
        ctx.tokens = Tokens(positions=first + np.arange(6)[None])
        found.append(layer.forward(x, ctx).copy())
    np.testing.assert_allclose(found[1], found[0], atol=1e-9)
    np.testing.assert_allclose(found[2], found[0], atol=1e-9)
