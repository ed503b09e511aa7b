"""Attention by blocks of queries, keys and heads: merged, they are the whole, in float64."""

import itertools

import numpy as np
import pytest

from mpitrain.ops import OPS
from mpitrain.ops.attention import Block, merge
from mpitrain.ops.dropout import Masks, dropout_mask


def naive(q, k, v, scale, causal, lengths, segments, dropout, block):
    """Return y and the logarithms, one query and one key after the other."""
    (n, heads, num_queries, _), num_keys, y = q.shape, k.shape[2], np.zeros(q.shape)
    logs, mask = np.full(q.shape[:3], -np.inf), np.ones((n, block.num_heads, block.length, block.length))
    if dropout is not None:
        first = dropout.position[3] * block.num_heads * block.length
        dropout_mask.numpy(mask.reshape(-1, block.length), dropout.p, (*dropout.position[:3], first))
    for i, h, s in np.ndindex(n, heads, num_queries):
        own, weights = block.query + s, []
        for t in range(num_keys):
            key = block.key + t
            hidden = (causal and key > own) or (lengths is not None and key >= lengths[i])
            if not hidden and (segments is None or segments[i, key] == segments[i, own]):
                weights.append((np.exp(scale * q[i, h, s] @ k[i, h * k.shape[1] // heads, t]), t))
        total = sum(w for w, _ in weights)
        for w, t in weights:
            factor = mask[i, block.head + h, own, block.key + t]
            y[i, h, s] += w / total * factor * v[i, h * k.shape[1] // heads, t]
        logs[i, h, s] = np.log(total) if weights else -np.inf
    return y, logs


def inputs(seed):
    """Return random q, dy, k, v and the masks of whole rows."""
    rng = np.random.default_rng(seed)
    n, kv_heads, group, length = (int(rng.integers(*ends)) for ends in ((1, 4), (1, 3), (1, 4), (4, 14)))
    q, dy = rng.standard_normal((2, n, kv_heads * group, length, 5))
    k, v = rng.standard_normal((2, n, kv_heads, length, 5))
    lengths = rng.integers(0, length + 1, n) if seed % 2 else None
    segments = np.cumsum(rng.random((n, length)) < 0.3, axis=1) if seed % 3 == 0 else None
    dropout = Masks(0.4, (seed, 3, 2**35, 2**33)) if seed % 4 > 1 else None
    return rng, (q, dy, k, v), (0.4, bool(seed % 5 % 2), lengths, segments, dropout)


@pytest.mark.parametrize("seed", range(12))
def test_a_block_does_what_loops_do(seed):
    rng, (q, _, k, v), how = inputs(seed)
    length, heads = q.shape[2], q.shape[1]
    queries, keys = (slice(*sorted(rng.choice(length + 1, 2, replace=False))) for _ in range(2))
    block = Block(queries.start, keys.start, length, 2, heads + 3)
    parts = q[:, :, queries], k[:, :, keys], v[:, :, keys]
    y, logs = np.full(parts[0].shape, np.nan), np.full(parts[0].shape[:3], np.nan)
    OPS["attention"].numpy(*parts, y, logs, *how, block)
    expected = naive(*parts, *how, block)
    np.testing.assert_allclose(y, expected[0], atol=1e-12, err_msg=str((seed, block)))
    np.testing.assert_allclose(logs, expected[1], atol=1e-12, err_msg=str((seed, block)))


def cuts(rng, length):
    """Return slices of 0..length, some of them empty."""
    ends = sorted([0, length, *rng.integers(0, length + 1, 3).tolist()])
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


@pytest.mark.parametrize("seed", range(12))
def test_blocks_of_keys_merged_are_the_whole(seed):
    """Forward by log-sum-exp; backward by delta, where dq is a sum over keys, dk and dv over queries."""
    rng, (q, dy, k, v), how = inputs(seed)
    y, dq, dk, dv, logs = (np.empty_like(x) for x in (q, q, k, v, q[..., 0]))
    OPS["attention"].numpy(q, k, v, y, logs, *how)
    OPS["attention_dx"].numpy(dy, q, k, v, logs, dq, dk, dv, *how)
    y2, logs2, found = np.zeros_like(q), np.full(logs.shape, -np.inf), [np.zeros_like(x) for x in (q, k, v)]
    places = itertools.product(cuts(rng, q.shape[2]), (b for b in cuts(rng, q.shape[2]) if b.start < b.stop))
    delta = np.sum(y * dy, axis=3)
    for a, b in places:
        block = Block(a.start, b.start, q.shape[2], 0, q.shape[1])
        part, log = np.empty_like(q[:, :, a]), np.empty_like(logs[:, :, a])
        OPS["attention"].numpy(q[:, :, a], k[:, :, b], v[:, :, b], part, log, *how, block)
        merge(y2[:, :, a], logs2[:, :, a], part, log)
        parts = dy[:, :, a], q[:, :, a], k[:, :, b], v[:, :, b], logs[:, :, a]
        made = [np.empty_like(x) for x in (part, k[:, :, b], v[:, :, b])]
        OPS["attention_dx"].numpy(*parts, *made, *how, block, delta[:, :, a])
        for whole, where, one in zip(found, (a, b, b), made, strict=True):
            whole[:, :, where] += one
    for mine, expected in ((y2, y), (logs2, logs), *zip(found, (dq, dk, dv), strict=True)):
        np.testing.assert_allclose(mine, expected, rtol=1e-12, atol=1e-12, err_msg=str(seed))


def test_a_query_that_sees_nothing():
    q = np.ones((1, 1, 3, 2))
    y, logs, dq, dk, dv = (np.full_like(x, np.nan) for x in (q, q[..., 0], q, q, q))
    how = 1.0, True, np.array([3]), None, None, Block(0, 2, 9, 0, 1)  # keys 2 to 4: queries 0 and 1 see none of them
    OPS["attention"].numpy(q, q, q, y, logs, *how)
    np.testing.assert_array_equal(y[0, 0], [[0, 0], [0, 0], [1, 1]])
    np.testing.assert_array_equal(logs[0, 0], [-np.inf, -np.inf, 2])
    OPS["attention_dx"].numpy(q, q, q, q, logs, dq, dk, dv, *how)
    assert all(np.isfinite(x).all() for x in (dq, dk, dv))
    np.testing.assert_array_equal(dv[0, 0], [[1, 1], [0, 0], [0, 0]])
