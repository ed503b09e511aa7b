"""Attention on a GPU: fused kernels (``attention_fused.py``), and where there are none what this file does: products by
our kernels, and between them the softmax of rows of scores (``softmax.cu``).

Shapes: as in ``ops/attention.py``; fp32 or bf16, scores and statistics fp32. Products have the device's precision.

A launch of a product takes matrices at one distance from each other: all heads of a sample, or one head in all samples,
read and written where they lie. Of the two it takes the one with more matrices, so each product is min(N, H) launches.
Packed side by side, all heads would be one, but q, k, v, y and their gradients would be moved once more and held twice:
that grows with the input, while the launches of a large input are hidden behind its work. Where heads share keys and
values, the first heads of all groups go first, then the second ones: their dk and dv are added up in that order.

Scores are in working memory of at most SCORE_BYTES (or a row), whatever the number of samples, heads and tokens:
matrices take turns, and so do the queries of a large one. Then dk and dv are added up, in the order of queries.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...kernels.plan import ceil_div
from .. import attention as ops
from ..dropout import Masks
from ..workspace import workspace
from . import attention_fused as fused
from .attention_record import DROPOUT, Mask
from .elements import is_bf16
from .matmul import multiply
from .softmax import run_rows

SCORE_BYTES = 1 << 28
PIECE = 4  # elements in 16 bytes
NUMBERS = ("rows", "queries", "keys", "ld", "first", "inner", "causal", "samples_inner", "key", "length")
RECORD = np.dtype([*((name, np.int32) for name in NUMBERS), ("outer_apart", np.int64), ("inner_apart", np.int64)])
assert RECORD.itemsize == 56, "the layout of struct Scores"


@ops.attention.cuda
def attention(
    q: Any,
    k: Any,
    v: Any,
    y: Any,
    log_sum_exp: Any,
    scale: float,
    causal: bool,
    lengths: Any,
    segments: Any = None,
    dropout: Masks | None = None,
    block: ops.Block | None = None,
) -> bool:
    """One fused kernel; or for each part of the scores two products and one softmax."""
    mask = Mask(causal, lengths, segments, dropout, ops.place_of(block, q, k))
    if not _covers(log_sum_exp, mask, q, k, v, y):
        return False
    if fused.forward(q, k, v, y, log_sum_exp, scale, mask):
        return True
    written = _room_in_rows("y", y)
    read = _in_rows("q", q), _in_rows("k", k), _in_rows("v", v)
    for members in _members(q, k):
        heads = Heads.of(k, log_sum_exp, members, mask)
        q, k, v, out = heads.ordered(read[0][:, members], *read[1:], written[:, members])
        for part in heads.parts(buffers=1):
            (scores,) = heads.room(part, buffers=1)
            for o, of_launch in zip(part.outer, scores, strict=True):
                multiply(q[o, part.inner, part.queries], k[o, part.inner], of_launch, transpose_b=True, alpha=scale)
            heads.softmax("attention_softmax", part, scores)
            for o, of_launch in zip(part.outer, scores, strict=True):
                multiply(of_launch, v[o, part.inner], out[o, part.inner, part.queries])
    _put(written, y)
    return True


@ops.attention_dx.cuda
def attention_dx(
    dy: Any,
    q: Any,
    k: Any,
    v: Any,
    log_sum_exp: Any,
    dq: Any,
    dk: Any,
    dv: Any,
    scale: float,
    causal: bool,
    lengths: Any,
    segments: Any = None,
    dropout: Masks | None = None,
    block: ops.Block | None = None,
    delta: Any = None,
    y: Any = None,
) -> bool:
    """Fused kernels; or for each part of the scores five products, and one launch that makes p and ds."""
    mask = Mask(causal, lengths, segments, dropout, ops.place_of(block, q, k))
    if not _covers(log_sum_exp, mask, dy, q, k, v, dq, dk, dv) or not _fits_statistics(delta, log_sum_exp):
        return False
    if fused.backward(dy, q, k, v, log_sum_exp, dq, dk, dv, scale, mask, delta, y):
        return True
    written = [_room_in_rows(name, x) for name, x in (("dq", dq), ("dk", dk), ("dv", dv))]
    of_queries = _in_rows("dy", dy), _in_rows("q", q), written[0]
    of_keys = _in_rows("k", k), _in_rows("v", v), *written[1:]
    for number, members in enumerate(_members(q, k)):
        heads = Heads.of(k, log_sum_exp, members, mask, delta)
        dy, q, out_q, k, v, out_k, out_v = heads.ordered(*(x[:, members] for x in of_queries), *of_keys)
        for part in heads.parts(buffers=2):
            p, ds = heads.room(part, buffers=2)
            inner, queries, beta = part.inner, part.queries, 1.0 if number or part.queries.start else 0.0
            for o, scores, dp in zip(part.outer, p, ds, strict=True):
                multiply(q[o, inner, queries], k[o, inner], scores, transpose_b=True, alpha=scale)
                multiply(dy[o, inner, queries], v[o, inner], dp, transpose_b=True)
            heads.softmax("attention_softmax_dx", part, p, ds)
            for o, of_p, of_ds in zip(part.outer, p, ds, strict=True):
                multiply(of_p, dy[o, inner, queries], out_v[o, inner], transpose_a=True, beta=beta)
                multiply(of_ds, k[o, inner], out_q[o, inner, queries], alpha=scale)
                multiply(of_ds, q[o, inner, queries], out_k[o, inner], transpose_a=True, alpha=scale, beta=beta)
    for room, result in zip(written, (dq, dk, dv), strict=True):
        _put(room, result)
    return True


class Part(NamedTuple):
    """Scores that are in memory at the same time: of some matrices, by two numbers, and of some queries of each."""

    outer: range
    inner: slice
    queries: slice


@dataclass(frozen=True)
class Heads:
    """The matrices of scores, numbered by (outer, inner), the outer ones being fewer: a launch takes the inner ones.

    Parameters
    ----------
    samples_inner : bool
        Whether these numbers are (head, sample) instead of (sample, head).
    num_outer, num_inner, num_queries, num_keys : int
    log_sum_exp : array (outer, inner, S)
    members : slice
        These heads, of those that the op has.
    mask : Mask
    delta : array (outer, inner, S) or None
    """

    samples_inner: bool
    num_outer: int
    num_inner: int
    num_queries: int
    num_keys: int
    log_sum_exp: Any
    members: slice
    mask: Mask
    delta: Any

    @classmethod
    def of(cls, k: Any, log_sum_exp: Any, members: slice, mask: Mask, delta: Any = None) -> "Heads":
        """Return the matrices of q k^T of these heads, of which there are as many as k has."""
        samples_inner, statistics = k.shape[0] > k.shape[1], log_sum_exp[:, members]
        sums = None if delta is None else delta[:, members]
        if samples_inner:
            statistics, sums = statistics.swapaxes(0, 1), None if sums is None else sums.swapaxes(0, 1)
        outer, inner, num_queries = statistics.shape
        return cls(samples_inner, outer, inner, num_queries, k.shape[2], statistics, members, mask, sums)

    def ordered(self, *arrays: Any) -> list[Any]:
        """Return arrays (N, H, ...) as (outer, inner, ...)."""
        return [x.swapaxes(0, 1) if self.samples_inner else x for x in arrays]

    @property
    def _ld(self) -> int:
        """The length of a row in memory: all rows are aligned to 16 bytes."""
        return ceil_div(self.num_keys, PIECE) * PIECE

    def parts(self, buffers: int) -> Iterator[Part]:
        """Yield parts so small that ``buffers`` arrays of their scores fit into SCORE_BYTES."""
        if not self.num_inner * self.num_outer:
            return
        rows = max(1, SCORE_BYTES // (4 * self._ld * buffers))
        matrices = max(1, rows // max(1, self.num_queries))
        for queries in _cut(self.num_queries, rows):
            for outer in _cut(self.num_outer, max(1, matrices // self.num_inner)):
                for inner in _cut(self.num_inner, matrices):
                    yield Part(range(outer.start, outer.stop), inner, queries)

    def room(self, part: Part, buffers: int) -> Any:
        """Return working memory (buffers, outer, inner, queries, T) for the scores of ``part``."""
        shape = buffers, len(part.outer), _length(part.inner), _length(part.queries), self._ld
        return workspace(self.log_sum_exp, "scores", shape)[..., : self.num_keys]

    def softmax(self, name: str, part: Part, *arrays: Any) -> None:
        """Launch a kernel of softmax.cu over the rows of ``part``, which are in ``arrays``."""
        outer, inner, queries = slice(part.outer.start, part.outer.stop), part.inner, part.queries
        statistics, place = self.log_sum_exp[outer, inner, queries], self.mask.place
        samples = inner if self.samples_inner else outer
        masks = [None if x is None else x[samples] for x in self.mask[1:3]]
        apart = [stride // 4 for stride in statistics.strides[:2]]
        first = queries.start + place.query - place.key
        sizes = statistics.size, _length(queries), self.num_keys, self._ld, first, _length(inner)
        flags = self.mask.causal, self.samples_inner, place.key, place.length
        record = np.array((*sizes, *flags, *apart), RECORD)
        sums = (None if self.delta is None else self.delta[outer, inner, queries],) if name.endswith("dx") else ()
        arguments = *arrays, statistics, *sums, *masks, record, *self._dropout(part)
        drops = self.mask.dropout is not None
        run_rows(name, statistics, statistics.size, self.num_keys, arguments, drops=drops)

    def _dropout(self, part: Part) -> tuple[np.ndarray, Any]:
        """Return struct Dropout for the matrices of ``part``, and its counters."""
        dropout = self.mask.dropout
        if dropout is None:
            return np.zeros((), DROPOUT), None
        first_sample, first_head = part.outer.start, part.inner.start
        if self.samples_inner:
            first_sample, first_head = first_head, first_sample
        where, group = self.mask.place, self.members.step
        base = where.first_row + first_sample * where.sample_apart + part.queries.start
        base += (self.members.start + first_head * group) * where.head_apart
        apart = base, where.sample_apart, group * where.head_apart
        return np.array((*dropout.position, *apart, dropout.threshold, where.length), DROPOUT), dropout.counters


def _covers(log_sum_exp: Any, mask: Mask, *arrays: Any) -> bool:
    """Return whether all are fp32 or bf16, statistics fp32, lengths and segments int64, and masks those of rows."""
    statistics, place = log_sum_exp.dtype == np.float32 and log_sum_exp.flags.c_contiguous, mask.place
    whole = all(x is None or (x.dtype == np.int64 and x.flags.c_contiguous) for x in mask[1:3])
    enough = mask.segments is None or (place.query >= 0 and mask.segments.shape[1] == place.length)
    return bool(statistics and whole and enough and all(x.dtype == np.float32 or is_bf16(x) for x in arrays))


def _fits_statistics(delta: Any, log_sum_exp: Any) -> bool:
    """Return whether sums lie as the statistics do, whose places in memory the kernel takes."""
    return delta is None or (
        delta.dtype == np.float32 and delta.shape == log_sum_exp.shape and bool(delta.flags.c_contiguous)
    )


def _members(q: Any, k: Any) -> Iterator[slice]:
    """Yield the heads that are the first in their groups, then the second ones, and so on."""
    group = q.shape[1] // k.shape[1]
    for number in range(group):
        yield slice(number, None, group)


def _cut(count: int, most: int) -> Iterator[slice]:
    """Yield slices of at most ``most``, as equal as they can be, the largest first; one also if there is nothing."""
    each = max(1, ceil_div(count, max(1, ceil_div(count, most))))
    for start in range(0, max(1, count), each):
        yield slice(start, min(start + each, count))


def _length(part: slice) -> int:
    return int(part.stop - part.start)


def _room_in_rows(name: str, x: Any) -> Any:
    """Return x, or where its rows are not contiguous working memory of its shape."""
    if x.strides[3] == x.itemsize or x.shape[3] <= 1 or not x.size:
        return x
    return workspace(x, f"rows of {name}", x.shape)


def _in_rows(name: str, x: Any) -> Any:
    """Return x, or where its rows are not contiguous a copy."""
    room = _room_in_rows(name, x)
    _put(x, room)
    return room


def _put(source: Any, target: Any) -> None:
    if source is not target:
        np.copyto(target, source)
