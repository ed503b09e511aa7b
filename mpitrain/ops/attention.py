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

The contents of other keys do not count, but must be finite. A query that sees no key gives 0. T is not 0.

With ``dropout``, y = (p m) v, where m is the mask (``ops/dropout.py``) of a matrix of T columns that has H S rows for
each sample of the step: head by head, a row for each query. It does not depend on the division of a batch into ranks,
but on T: all ranks must pad to the same length.

Forward keeps one number for each row of scores, the logarithm of its sum of exponentials, from which backward computes
the probabilities again:

    p = exp(scale q k^T - log_sum_exp),   dv = (p m)^T dy,   dp = (dy v^T) m,   ds = p (dp - sum of p dp) scale,
    dq = ds k,   dk = ds^T q.

NumPy holds all scores at a time; the kernels in C hold those of a few queries, those of a GPU a fixed number of bytes.
"""

import numpy as np

from .dispatch import op
from .dropout import Masks, dropout_mask
from .workspace import workspace


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
) -> None:
    """Write y, and ``log_sum_exp`` for backward.

    Raises
    ------
    ValueError
        If there are segments, but fewer keys than queries.
    """
    scores = _scores(q, k, scale, causal, lengths, segments)
    row_max = scores.max(axis=3, keepdims=True)
    np.copyto(row_max, 0, where=row_max == -np.inf)
    np.subtract(scores, row_max, out=scores)
    np.exp(scores, out=scores)
    sums = np.maximum(scores.sum(axis=3, keepdims=True), 1)  # the largest gives 1; less only where no key is seen
    np.divide(scores, sums, out=scores)
    if dropout is not None:
        np.multiply(scores, _mask(scores, dropout), out=scores)
    np.matmul(_grouped(scores, k), v[:, :, None], out=_grouped(y, k))
    np.add(row_max, np.log(sums), out=log_sum_exp[..., None])


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
) -> None:
    """Write dq, dk and dv."""
    p = _scores(q, k, scale, causal, lengths, segments)
    np.subtract(p, log_sum_exp[..., None], out=p)
    np.exp(p, out=p)
    ds = workspace(p, "ds", p.shape)
    mask = None if dropout is None else _mask(p, dropout)
    _sum_over_queries(p if mask is None else np.multiply(p, mask, out=ds), dy, dv)
    np.matmul(_grouped(dy, k), v[:, :, None].swapaxes(3, 4), out=_grouped(ds, k))
    if mask is not None:
        np.multiply(ds, mask, out=ds)
    np.subtract(ds, np.einsum("nhst,nhst->nhs", p, ds)[..., None], out=ds)
    np.multiply(ds, p, out=ds)
    np.multiply(ds, scale, out=ds)
    np.matmul(_grouped(ds, k), k[:, :, None], out=_grouped(dq, k))
    _sum_over_queries(ds, q, dk)


def _mask(scores: np.ndarray, dropout: Masks) -> np.ndarray:
    """Return the mask (N, H, S, T)."""
    _, heads, num_queries, num_keys = scores.shape
    mask: np.ndarray = workspace(scores, "mask", scores.shape)
    seed, layer, step, first = dropout.position
    rows = mask.reshape(-1, num_keys)
    dropout_mask(rows, dropout.p, (seed, layer, step, first * heads * num_queries), dropout.counters)
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
) -> np.ndarray:
    """Return scale q k^T (N, H, S, T), -inf where a query does not see a key."""
    n, heads, num_queries, _ = q.shape
    num_keys = k.shape[2]
    scores: np.ndarray = workspace(q, "scores", (n, heads, num_queries, num_keys))
    np.matmul(_grouped(q, k), k[:, :, None].swapaxes(3, 4), out=_grouped(scores, k))
    np.multiply(scores, scale, out=scores)
    place = np.arange(num_keys, like=q)
    before = num_keys - num_queries
    if causal:
        np.copyto(scores, -np.inf, where=place > np.arange(before, num_keys, like=q)[:, None])
    if lengths is not None:
        np.copyto(scores, -np.inf, where=place >= lengths[:, None, None, None])
    if segments is not None:
        if before < 0:
            raise ValueError(f"{num_queries} queries cannot be the last of {num_keys} tokens in segments")
        np.copyto(scores, -np.inf, where=segments[:, None, None, :] != segments[:, None, before:, None])
    return scores
