"""Softmax and attention in C against the NumPy functions, in float64."""

import numpy as np

from mpitrain.ops import OPS
from mpitrain.ops.attention import Block, place_of
from mpitrain.ops.dropout import Masks
from tests.cpu_kernels import levels, near, use


@levels
def test_softmax(kernels, level, threads):
    use(level, threads)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        m, k = int(rng.integers(0, 60)), int(rng.integers(1, 90))
        x, dy = rng.standard_normal((2, m, k), np.float32) * 20
        y, dx, y2, dx2 = np.empty_like(x), np.empty_like(x), np.empty(x.shape), np.empty(x.shape)
        assert kernels.softmax(x, y)
        OPS["softmax"].numpy(x.astype(np.float64), y2)
        near(y, y2, 1e-6, seed)
        assert kernels.softmax_dx(y, dy, dx)
        OPS["softmax_dx"].numpy(y.astype(np.float64), dy.astype(np.float64), dx2)
        near(dx, dx2, 1e-5, seed)
        assert kernels.softmax(x, x)
        np.testing.assert_array_equal(x, y)
        assert kernels.softmax_dx(y, dy, dy)
        np.testing.assert_array_equal(dy, dx)
    assert not kernels.softmax(x.astype(np.float64), y)
    assert not kernels.softmax(x[:, ::2], y)


@levels
def test_softmax_of_what_is_no_number(kernels, level, threads):
    use(level, threads)
    x = np.zeros((5, 21), np.float32)
    x[1, 20], x[2, 3], x[3], x[4] = np.nan, np.inf, -1e38, 1e-40
    x[3, 7] = -np.inf
    y = np.empty_like(x)
    assert kernels.softmax(x, y)
    np.testing.assert_array_equal(np.isnan(y).all(axis=1), [False, True, True, False, False])
    np.testing.assert_allclose(y[3], np.arange(21) != 7, atol=1)
    np.testing.assert_allclose(y[[0, 4]], 1 / 21, rtol=1e-6)
    assert y[3, 7] == 0


def keep(queries, keys):
    """Return the numbers for no dropout, and for queries that are the last of these tokens."""
    return 0, 0, 0, 0, 0, keys - queries, 0, keys, 0, 0


def heads_of(rng, n, heads, length, size, packed):
    """Return (N, H, length, D) random heads, contiguous, or three parts of what a linear layer would write."""
    if packed:
        rows = rng.standard_normal((n, length, 3, heads, size), np.float32)
        return [rows[:, :, i].transpose(0, 2, 1, 3) for i in range(3)]
    return [rng.standard_normal((n, heads, length, size), np.float32) for _ in range(3)]


def packed_rows(rng, n, length):
    """Return (n, length) numbers of sequences that follow each other in a row."""
    return np.cumsum(rng.random((n, length)) < 0.2, axis=1) + rng.integers(-2, 2, (n, 1))


def numbers_of(place, dropout):
    """Return the numbers of the masks and of the block, as the kernels take them."""
    *masks, first = (0,) * 5 if dropout is None else (dropout.threshold, *dropout.position)
    row = place.first_row + first * place.sample_apart
    return *masks, row, place.query, place.key, place.length, place.sample_apart, place.head_apart


def compare(kernels, rng, sizes, packed, how, what):
    """Compare both kernels with NumPy in float64; sizes (N, H, Hk, S, T, D)."""
    n, heads, kv_heads, queries, keys, size = sizes
    *how, dropout, block, given = how
    q, dy, y = heads_of(rng, n, heads, queries, size, packed)
    k, v, dk = heads_of(rng, n, kv_heads, keys, size, packed)
    in_c = *how, *numbers_of(place_of(block, q, k), dropout)
    how = *how, dropout, block
    delta = rng.standard_normal((n, heads, queries), np.float32) if given else None
    dq, dv, logs = np.full_like(q, np.nan), np.full_like(v, np.nan), np.empty((n, heads, queries), np.float32)
    assert kernels.attention(q, k, v, y, logs, *in_c), what
    assert kernels.attention_dx(dy, q, k, v, logs, dq, dk, dv, *in_c, delta), what
    wide = [each.astype(np.float64) for each in (q, k, v, dy)]
    y2, logs2, dq2, dk2, dv2 = (np.empty(each.shape) for each in (y, logs, dq, dk, dv))
    OPS["attention"].numpy(*wide[:3], y2, logs2, *how)
    OPS["attention_dx"].numpy(wide[3], *wide[:3], logs2, dq2, dk2, dv2, *how, delta)
    for name, found, expected in (("y", y, y2), ("dq", dq, dq2), ("dk", dk, dk2), ("dv", dv, dv2)):
        near(found, expected, 1e-5, (name, *what))
    seen = np.isfinite(logs2)
    np.testing.assert_array_equal(np.isneginf(logs), ~seen, err_msg=str(what))
    near(logs[seen], logs2[seen], 1e-5, what)


@levels
def test_attention(kernels, level, threads):
    use(level, threads)
    for seed in range(120):
        rng = np.random.default_rng(seed)
        n, heads, group, keys, size = (int(rng.integers(*ends)) for ends in ((0, 4), (1, 4), (1, 4), (1, 90), (1, 70)))
        packs, causal = seed % 4 == 1, seed % 2 == 0
        queries = int(rng.integers(0, keys + 1 if packs else 130)) if seed % 3 else keys
        lengths = rng.integers(0, keys + 3, n) if seed % 5 == 0 else None
        segments = packed_rows(rng, n, keys) if packs or (seed % 8 == 6 and queries <= keys) else None
        dropout = Masks(float(rng.uniform(0, 0.9)), (seed, 3, 2**40, 2**33)) if seed % 3 == 1 else None
        block = None
        if seed % 4 == 3:  # queries and keys anywhere in longer rows, heads among others
            length = max(queries, keys) + int(rng.integers(0, 60))
            places = int(rng.integers(0, length - queries + 1)), int(rng.integers(0, length - keys + 1))
            block = Block(*places, length, 2, heads * group + 3)
            lengths = None if lengths is None else rng.integers(0, length + 3, n)
            segments = packed_rows(rng, n, length) if seed % 8 == 3 else None
        how = 1 / np.sqrt(size), causal or seed % 5 == 4, lengths, segments, dropout, block, seed % 7 > 2
        sizes = n, heads * group, heads, queries, keys, size
        compare(kernels, rng, sizes, seed % 7 < 4, how, (seed, sizes, how))


@levels
def test_one_query_after_many_keys(kernels, level, threads):
    """As generation asks for it."""
    use(level, threads)
    for seed, (queries, size) in enumerate([(1, 64), (1, 17), (2, 32), (3, 5), (5, 64)]):
        lengths = None if seed % 2 else np.array([7, 200])
        sizes = 2, 6, 2, queries, 201, size
        compare(
            kernels,
            np.random.default_rng(seed),
            sizes,
            False,
            (0.3, True, lengths, None, None, None, False),
            (seed, sizes),
        )


def test_sequences_in_a_row_are_as_if_each_were_alone(kernels):
    rng = np.random.default_rng(0)
    q, k, v, dy = rng.standard_normal((4, 1, 2, 50, 8), np.float32)
    segments = np.repeat([3, 4, 9], [7, 33, 10])[None]
    for causal in (False, True):
        y, dq, dk, dv, logs = (np.empty_like(each) for each in (q, q, k, v, q[..., 0].copy()))
        assert kernels.attention(q, k, v, y, logs, 0.3, causal, None, segments, *keep(50, 50))
        assert kernels.attention_dx(dy, q, k, v, logs, dq, dk, dv, 0.3, causal, None, segments, *keep(50, 50), None)
        for start, stop in ((0, 7), (7, 40), (40, 50)):
            alone = [np.ascontiguousarray(each[:, :, start:stop]) for each in (q, k, v, dy)]
            found = [np.empty_like(alone[0]) for _ in range(4)]
            logs2 = np.empty((1, 2, stop - start), np.float32)
            how = 0.3, causal, None, None, *keep(stop - start, stop - start)
            assert kernels.attention(*alone[:3], found[0], logs2, *how)
            assert kernels.attention_dx(alone[3], *alone[:3], logs2, *found[1:], *how, None)
            for mine, expected in zip((y, dq, dk, dv), found, strict=True):
                near(mine[:, :, start:stop], expected, 1e-6, (causal, start))


@levels
def test_many_keys(kernels, level, threads):
    use(level, threads)
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 1, length, 8), np.float32) for length in (61, 6000, 6000))
    y, logs = np.empty_like(q), np.empty((1, 1, 61), np.float32)
    assert kernels.attention(q, k, v, y, logs, 1.0, False, None, None, *keep(61, 6000))
    expected = np.empty(q.shape)
    wide = (each.astype(np.float64) for each in (q, k, v))
    OPS["attention"].numpy(*wide, expected, np.empty(logs.shape), 1.0, False, None, None)
    near(y, expected, 1e-5)


@levels
def test_hidden_keys_are_not_looked_at(kernels, level, threads):
    use(level, threads)
    rng = np.random.default_rng(0)
    q, k, v, dy = rng.standard_normal((4, 2, 3, 20, 16), np.float32)
    lengths, how = np.array([7, 0]), (0.25, False)
    y, dq, dk, dv, logs = (np.full_like(each, np.nan) for each in (q, q, k, v, q[..., 0].copy()))
    k[0, :, 7:], v[0, :, 7:], k[1], v[1] = np.nan, np.inf, np.nan, np.nan
    assert kernels.attention(q, k, v, y, logs, *how, lengths, None, *keep(20, 20))
    assert kernels.attention_dx(dy, q, k, v, logs, dq, dk, dv, *how, lengths, None, *keep(20, 20), None)
    assert all(np.isfinite(each).all() for each in (y, dq, dk, dv))
    assert not y[1].any()
    assert not dk[0, :, 7:].any()
    q[0, 0, 3, 5] = np.nan  # one query of one head
    assert kernels.attention(q, k, v, y, logs, *how, lengths, None, *keep(20, 20))
    np.testing.assert_array_equal(np.isnan(y).any(axis=3), (np.arange(q[..., 0].size) == 3).reshape(2, 3, 20))


def test_what_is_not_covered(kernels):
    q, k, logs = np.ones((2, 3, 4, 5), np.float32), np.ones((2, 3, 6, 5), np.float32), np.ones((2, 3, 4), np.float32)
    y, how = np.empty_like(q), (1.0, False, None, None, *keep(4, 6))
    assert kernels.attention(q, k, k, y, logs, *how)
    assert not kernels.attention(q, k, k[:, :, :5], y, logs, *how)
    assert not kernels.attention(q, k, k, y, logs[:1], *how)
    assert not kernels.attention(q, k, k, y, logs, 1.0, False, np.array([1]), None, *keep(4, 6))
    assert not kernels.attention(q.astype(np.float64), k, k, y, logs, *how)
    assert not kernels.attention(q, k[:, :2], k[:, :2], y, logs, *how), "heads that do not divide into groups"
    rows = np.array([[0, 0, 1, 1, 2, 2]] * 2)
    assert kernels.attention(q, k, k, y, logs, 1.0, False, None, rows, *keep(4, 6))
    assert not kernels.attention(q, k, k, y, logs, 1.0, False, None, rows[:1], *keep(4, 6))
    assert not kernels.attention(q, k, k, y, logs, 1.0, False, None, rows[:, ::-1].copy(), *keep(4, 6)), (
        "numbers that decrease"
    )
    assert not kernels.attention(
        q, k[:, :, :3], k[:, :, :3], y, logs, 1.0, False, None, rows[:, :3].copy(), *keep(4, 3)
    )
    beyond = 0, 0, 0, 0, 0, 0, 3, 8, 0, 0
    assert not kernels.attention(q, k, k, y, logs, 1.0, False, None, None, *beyond), "keys beyond the row"
    dx = q, q, k, k, logs, q.copy(), k.copy(), k.copy(), *how
    assert kernels.attention_dx(*dx, logs)
    assert not kernels.attention_dx(*dx, logs[:1])


def test_rows_lie_in_one_piece(kernels):
    q, logs, how = (
        np.ones((2, 3, 4, 5), np.float32),
        np.ones((2, 3, 4), np.float32),
        (1.0, False, None, None, *keep(4, 4)),
    )
    y = np.empty_like(q)
    assert kernels.attention(q[::-1, :, ::-1], q, q, y, logs, *how)
    assert not kernels.attention(q, q, q, y.swapaxes(2, 3).copy().swapaxes(2, 3), logs, *how)
    assert not kernels.attention(q, q, q, y[..., ::-1], logs, *how)
