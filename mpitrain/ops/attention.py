"""Scaled dot-product attention: y = p v, p = softmax(scale q k^T) (Vaswani et al. 2017, arXiv 1706.03762).

Shapes: q, y, dy, dq (N, H, S, D); k, v, dk, dv (N, H, T, D); any strides, so that heads may be views of the output of a
linear layer, (N, S, H D); log_sum_exp (N, H, S), contiguous. N samples, H heads, S queries, T keys. Any N, also 0.

Query s sees the keys t with t <= s where ``causal``, and t < lengths[n] where ``lengths`` (N,) int64 is given. The
contents of other keys do not count, but must be finite. A query that sees no key gives 0. T is not 0.

Forward keeps one number for each row of scores, the logarithm of its sum of exponentials, from which backward computes
the probabilities again:

    p = exp(scale q k^T - log_sum_exp),   dv = p^T dy,   dp = dy v^T,   ds = p (dp - sum of p dp) scale,
    dq = ds k,   dk = ds^T q.

NumPy holds all scores at a time; the kernels in C hold those of a few queries, those of a GPU a fixed number of bytes.
"""

import numpy as np

from .dispatch import op
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
) -> None:
    """Write y, and ``log_sum_exp`` for backward."""
    scores = _scores(q, k, scale, causal, lengths)
    row_max = scores.max(axis=3, keepdims=True)
    np.copyto(row_max, 0, where=row_max == -np.inf)
    np.subtract(scores, row_max, out=scores)
    np.exp(scores, out=scores)
    sums = np.maximum(scores.sum(axis=3, keepdims=True), 1)  # the largest gives 1; less only where no key is seen
    np.divide(scores, sums, out=scores)
    np.matmul(scores, v, out=y)
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
) -> None:
    """Write dq, dk and dv."""
    p = _scores(q, k, scale, causal, lengths)
    np.subtract(p, log_sum_exp[..., None], out=p)
    np.exp(p, out=p)
    np.matmul(p.swapaxes(2, 3), dy, out=dv)
    ds = np.matmul(dy, v.swapaxes(2, 3), out=workspace(p, "ds", p.shape))
    np.subtract(ds, np.einsum("nhst,nhst->nhs", p, ds)[..., None], out=ds)
    np.multiply(ds, p, out=ds)
    np.multiply(ds, scale, out=ds)
    np.matmul(ds, k, out=dq)
    np.matmul(ds.swapaxes(2, 3), q, out=dk)


def _scores(q: np.ndarray, k: np.ndarray, scale: float, causal: bool, lengths: np.ndarray | None) -> np.ndarray:
    """Return scale q k^T (N, H, S, T), -inf where a query does not see a key."""
    n, heads, num_queries, _ = q.shape
    num_keys = k.shape[2]
    scores: np.ndarray = workspace(q, "scores", (n, heads, num_queries, num_keys))
    np.matmul(q, k.swapaxes(2, 3), out=scores)
    np.multiply(scores, scale, out=scores)
    place = np.arange(num_keys, like=q)
    if causal:
        np.copyto(scores, -np.inf, where=place > np.arange(num_queries, like=q)[:, None])
    if lengths is not None:
        np.copyto(scores, -np.inf, where=place >= lengths[:, None, None, None])
    return scores
