"""Scaled dot-product attention: y = p v, p = softmax(scale q k^T) (Vaswani et al. 2017, arXiv 1706.03762).

Shapes: q, y, dy, dq (N, H, S, D); k, v, dk, dv (N, Hk, T, D); any strides, so that heads may be views of the output of
a linear layer, (N, S, H D); log_sum_exp (N, H, S), contiguous. N samples, H heads, S queries, T keys. Any N, also 0.

H is a multiple of Hk: head h reads the keys and values of head h // (H / Hk), and dk and dv are sums over the heads
that read them (Ainslie et al. 2023, arXiv 2305.13245).

The queries are the last S of T tokens: query s is token s + T - S. Where S > T, the first S - T of them lie before all
keys. Query s sees the keys t

- with t <= s + T - S where ``causal``,
- with t < lengths[n] where ``lengths`` (N,) int64 is given,
- with segments[n, t] = segments[n, s + T - S] where ``segments`` (N, T) int64 is given: numbers that do not decrease
  along a row, of sequences packed into it. Then S is at most T.

The contents of other keys do not count, but must be finite. A query that sees no key gives 0, and -inf for the
logarithm of its sum of exponentials. T is not 0.

With ``dropout``, y = (p m) v, where m is the mask (``ops/dropout.py``) of a matrix of T columns that has H S rows for
each sample of the step: head by head, a row for each query. It does not depend on the division of a batch into ranks,
but on T: all ranks must pad to the same length.

With a ``Block``, queries and keys are any tokens of longer rows, and heads some of more: all of the above holds with
the numbers that they have there. Results over different keys are merged by ``merge``.

Forward keeps one number for each row of scores, the logarithm of its sum of exponentials, from which backward computes
the probabilities again:

    p = exp(scale q k^T - log_sum_exp),   dv = (p m)^T dy,   dp = (dy v^T) m,   ds = p (dp - delta) scale,
    dq = ds k,   dk = ds^T q,   delta = the sum of p dp over all keys that a query sees = the sum of y dy.

Where log_sum_exp is that of more keys, given ``delta`` (N, H, S) of them, dq, dk and dv are the parts of these keys.

NumPy holds all scores at a time; the kernels in C hold those of a few queries, those of a GPU a fixed number of bytes.
"""

from typing import Any, NamedTuple

import numpy as np

from .dispatch import op
from .dropout import Masks, dropout_mask
from .workspace import workspace


class Block(NamedTuple):
    """The place of queries, keys and heads in the rows of tokens and the heads of a layer, of which they are a part.

    Attributes
    ----------
    query, key : int
        The first query and the first key are these tokens of their row; those that follow are its neighbors.
    length : int
        Tokens of a row: ``segments`` is (N, length), and the mask of dropout has so many columns, and rows a head.
    head, num_heads : int
        The first head is this one of so many.
    """

    query: int
    key: int
    length: int
    head: int
    num_heads: int


class Place(NamedTuple):
    """The place of a block, or of the whole, in numbers that kernels take.

    Attributes
    ----------
    query, key : int
        The tokens that are the first query and the first key; a query may lie before all keys.
    length : int
        Columns of ``segments`` and of the mask.
    first_row, sample_apart, head_apart : int
        Rows of the mask: that of the first query of the first head, in the first sample of the step, and from there to
        those of the next sample and the next head.
    """

    query: int
    key: int
    length: int
    first_row: int
    sample_apart: int
    head_apart: int


def place_of(block: Block | None, q: Any, k: Any) -> Place:
    """Return the place of q (N, H, S, D) and k (N, Hk, T, D)."""
    heads, num_queries, num_keys = q.shape[1], q.shape[2], k.shape[2]
    if block is None:
        return Place(num_keys - num_queries, 0, num_keys, 0, heads * num_queries, num_queries)
    rows = block.length
    return Place(block.query, block.key, rows, block.head * rows + block.query, block.num_heads * rows, rows)


@op
def attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    y: np.ndarray,
    log_sum_exp: np.ndarray,
    scale: float,
    causal: bool,
    lengths: np.ndarray | None,
    segments: np.ndarray | None = None,
    dropout: Masks | None = None,
    block: Block | None = None,
) -> None:
    """Write y, and ``log_sum_exp`` for backward.

    Raises
    ------
    ValueError
        If there are segments, but fewer keys than queries.
    """
    scores = _scores(q, k, scale, causal, lengths, segments, block)
    row_max = scores.max(axis=3, keepdims=True)
    sees_none = row_max == -np.inf
    np.copyto(row_max, 0, where=sees_none)
    np.subtract(scores, row_max, out=scores)
    np.exp(scores, out=scores)
    sums = np.maximum(scores.sum(axis=3, keepdims=True), 1)  # the largest gives 1; less only where no key is seen
    np.divide(scores, sums, out=scores)
    if dropout is not None:
        np.multiply(scores, _mask(scores, dropout, place_of(block, q, k), block), out=scores)
    np.matmul(_grouped(scores, k), v[:, :, None], out=_grouped(y, k))
    np.add(row_max, np.log(sums), out=log_sum_exp[..., None])
    np.copyto(log_sum_exp[..., None], -np.inf, where=sees_none)


@op
def attention_dx(
    dy: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    log_sum_exp: np.ndarray,
    dq: np.ndarray,
    dk: np.ndarray,
    dv: np.ndarray,
    scale: float,
    causal: bool,
    lengths: np.ndarray | None,
    segments: np.ndarray | None = None,
    dropout: Masks | None = None,
    block: Block | None = None,
    delta: np.ndarray | None = None,
    y: np.ndarray | None = None,
) -> None:
    """Write dq, dk and dv; without ``delta``, that of these keys.

    ``y``, what forward has written for these keys, need not be given: paths find delta in it sooner than in p and dp.
    """
    p = _scores(q, k, scale, causal, lengths, segments, block)
    np.subtract(p, np.where(log_sum_exp == -np.inf, 0, log_sum_exp)[..., None], out=p)
    np.exp(p, out=p)
    ds = workspace(p, "ds", p.shape)
    mask = None if dropout is None else _mask(p, dropout, place_of(block, q, k), block)
    _sum_over_queries(p if mask is None else np.multiply(p, mask, out=ds), dy, dv)
    np.matmul(_grouped(dy, k), v[:, :, None].swapaxes(3, 4), out=_grouped(ds, k))
    if mask is not None:
        np.multiply(ds, mask, out=ds)
    delta = np.einsum("nhst,nhst->nhs", p, ds) if delta is None else delta
    np.subtract(ds, delta[..., None], out=ds)
    np.multiply(ds, p, out=ds)
    np.multiply(ds, scale, out=ds)
    np.matmul(_grouped(ds, k), k[:, :, None], out=_grouped(dq, k))
    _sum_over_queries(ds, q, dk)


def merge(y: np.ndarray, log_sum_exp: np.ndarray, y_too: np.ndarray, log_too: np.ndarray) -> None:
    """Merge results over other keys into y (N, H, S, D) and log_sum_exp (N, H, S); overwrites ``log_too``.

    With w = exp(log_too - log), log the logarithm of both sums, y = (1 - w) y + w y_too (Liu et al. 2023,
    arXiv 2310.01889).
    """
    both = np.logaddexp(log_sum_exp, log_too)
    seen = np.where(both == -np.inf, 0, both)  # a query that has seen no key so far keeps its 0
    np.multiply(y, np.exp(log_sum_exp - seen)[..., None], out=y)
    np.exp(np.subtract(log_too, seen, out=log_too), out=log_too)
    np.add(y, y_too * log_too[..., None], out=y)
    log_sum_exp[...] = both


def _mask(scores: np.ndarray, dropout: Masks, place: Place, block: Block | None) -> np.ndarray:
    """Return the mask (N, H, S, T)."""
    num_samples, heads, num_queries, num_keys = scores.shape
    mask: np.ndarray = workspace(scores, "mask", scores.shape)
    *key, first = dropout.position
    if block is None:
        rows = mask.reshape(-1, num_keys)
        dropout_mask(rows, dropout.p, (*key, first * heads * num_queries), dropout.counters)
        return mask
    whole = workspace(scores, "rows of the mask", (num_queries, place.length))
    for n, h in np.ndindex(num_samples, heads):
        row = place.first_row + (first + n) * place.sample_apart + h * place.head_apart
        dropout_mask(whole, dropout.p, (*key, row), dropout.counters)
        mask[n, h] = whole[:, place.key : place.key + num_keys]
    return mask


def _grouped(x: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return the view (N, Hk, H / Hk, ...) of x (N, H, ...)."""
    n, heads, *rest = x.shape
    return x.reshape(n, k.shape[1], heads // k.shape[1], *rest)


def _sum_over_queries(p: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
    """Write to ``out`` (N, Hk, T, D) the sums of p^T x over the heads of a group, p (N, H, S, T) and x (N, H, S, D)."""
    n, kv_heads, num_keys, size = out.shape
    if p.shape[1] > kv_heads:
        rows = workspace(x, "group", x.shape)
        np.copyto(rows, x)
        count = p.shape[1] // kv_heads * p.shape[2]
        p, x = p.reshape(n, kv_heads, count, num_keys), rows.reshape(n, kv_heads, count, size)
    np.matmul(p.swapaxes(2, 3), x, out=out)


def _scores(
    q: np.ndarray,
    k: np.ndarray,
    scale: float,
    causal: bool,
    lengths: np.ndarray | None,
    segments: np.ndarray | None,
    block: Block | None,
) -> np.ndarray:
    """Return scale q k^T (N, H, S, T), -inf where a query does not see a key."""
    n, heads, num_queries, _ = q.shape
    num_keys = k.shape[2]
    scores: np.ndarray = workspace(q, "scores", (n, heads, num_queries, num_keys))
    np.matmul(_grouped(q, k), k[:, :, None].swapaxes(3, 4), out=_grouped(scores, k))
    np.multiply(scores, scale, out=scores)
    place = place_of(block, q, k)
    keys = np.arange(place.key, place.key + num_keys, like=q)
    if causal:
        np.copyto(scores, -np.inf, where=keys > np.arange(place.query, place.query + num_queries, like=q)[:, None])
    if lengths is not None:
        np.copyto(scores, -np.inf, where=keys >= lengths[:, None, None, None])
    if segments is not None:
        if place.query < 0:
            raise ValueError(f"{num_queries} queries cannot be the last of {num_keys} tokens in segments")
        of_keys = segments[:, None, None, place.key : place.key + num_keys]
        np.copyto(scores, -np.inf, where=of_keys != segments[:, None, place.query : place.query + num_queries, None])
    return scores
