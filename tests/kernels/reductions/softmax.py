"""Scores of attention as softmax.cu takes them, and what it must make of them."""

from typing import NamedTuple

import numpy as np

from mpitrain.ops import OPS
from mpitrain.ops.cuda.attention import RECORD
from mpitrain.ops.cuda.attention_record import DROPOUT
from tests.kernels import cpu
from tests.kernels.arrays import NULL, Elements, launch


class Case(NamedTuple):
    """Matrices (outer, inner) of scores of (queries, keys), ``pad`` behind each row.

    Key 0 is token ``key`` of a row that goes on for ``after`` tokens behind the keys; query 0 is token ``key + first``.
    """

    outer: int
    inner: int
    queries: int
    keys: int
    causal: bool = False
    lengths: tuple[int, ...] | None = None
    samples_inner: bool = False
    first: int = 0
    pad: int = 0
    segments: tuple[tuple[int, ...], ...] | None = None  # of samples: the lengths of their sequences
    dropout: float = 0.0
    counters: bool = False  # step and first sample lie in memory
    key: int = 0
    after: int = 0
    delta: bool = False  # sums of p dp are given, those of more keys

    @property
    def length(self) -> int:
        """Tokens of a row."""
        return self.key + self.keys + self.after


CASES = [
    Case(1, 1, 1, 1),
    Case(2, 3, 5, 7, causal=True),
    Case(2, 3, 4, 9, lengths=(0, 6), pad=3),
    Case(3, 2, 4, 20, causal=True, lengths=(5 - 2**32, 99), samples_inner=True, first=9, pad=4),
    Case(1, 2, 3, 150, causal=True, first=140, pad=2),
    Case(1, 1, 3, 1100),
    Case(1, 2, 5, 3, causal=True, first=-2, pad=1),
    Case(2, 2, 9, 9, segments=((4, 5), (9,))),
    Case(1, 2, 30, 37, causal=True, lengths=(36, 20), samples_inner=True, first=7, segments=((13, 1, 23), (36, 1))),
    Case(2, 3, 5, 37, causal=True, first=30, pad=3, dropout=0.3),
    Case(3, 2, 4, 20, samples_inner=True, dropout=0.6, counters=True),
    Case(2, 3, 5, 7, causal=True, lengths=(30, 12), first=3, key=8, after=9, pad=2, delta=True),
    Case(1, 2, 6, 9, causal=True, first=-2, key=11, delta=True),
    Case(2, 2, 7, 20, samples_inner=True, first=-9, key=13, after=2, segments=((3, 5, 22, 5), (35,))),
    Case(1, 2, 5, 37, first=30, pad=3, dropout=0.3, key=27, after=40, delta=True),
    Case(2, 1, 5, 17, first=-40, samples_inner=True, dropout=0.5, key=78, counters=True, delta=True),
]


def run(kernels: cpu.Kernels, case: Case, bf16: int = 0, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (found, expected) for p, log_sum_exp, p again and ds; fail if anything else was written."""
    elements, statistics = Elements(bf16, seed), Elements(0, seed)
    matrices, ld = (case.outer, case.inner, case.queries), case.keys + case.pad
    p, ds = elements.room(*matrices, ld), elements.room(*matrices, ld)
    scores, dp = (elements.draw(*matrices, case.keys, scale=scale) for scale in (4, 1))
    p[..., : case.keys], ds[..., : case.keys] = scores[0], dp[0]
    # of all matrices and queries of an op; those of this launch begin at the second outer one, and after ``first``
    skipped = max(0, case.first)
    log_sum_exp = statistics.room(case.outer + 2, case.inner + 1, skipped + case.queries + 1)
    mine = log_sum_exp[1:-1, :-1, skipped:-1]
    seen = visible(case)
    rows = case.outer * case.inner * case.queries
    sizes = (
        rows,
        case.queries,
        case.keys,
        ld,
        case.first,
        case.inner,
        case.causal,
        case.samples_inner,
        case.key,
        case.length,
    )
    record = np.array((*sizes, *(stride // 4 for stride in mine.strides[:2])), RECORD)
    lengths = NULL if case.lengths is None else np.array(case.lengths)
    segments = NULL if case.segments is None else numbers(case)
    grid = -(-rows * kernels.macro("ROW_WARPS") // 8)
    mask, *dropped = dropout_of(case)
    how = lengths, segments, record, *dropped
    launch(kernels, "attention_softmax", p, mine, *how, grid=grid, seed=seed)
    expected, expected_log = softmax(scores[1], seen)
    found = [(elements.value(p[..., : case.keys]), expected * mask), (elements.value(mine), expected_log)]
    p[..., : case.keys] = scores[0]
    slopes = np.where(seen, dp[1], 0) * mask
    delta = (expected * slopes).sum(axis=3)
    sums: np.ndarray | np.uint64 = NULL
    if case.delta:
        sums = statistics.room(*log_sum_exp.shape)[1:-1, :-1, skipped:-1]
        delta = sums[...] = np.float32(delta + 0.25)
    launch(kernels, "attention_softmax_dx", p, ds, mine, sums, *how, grid=grid, seed=seed)
    expected_ds = expected * (slopes - delta[..., None])
    found.append((elements.value(p[..., : case.keys]), expected * mask))
    found.append((elements.value(ds[..., : case.keys]), expected_ds))
    for array in (p, ds):
        assert np.isnan(elements.value(array[..., case.keys :])).all(), "written behind a row"
    mine[...] = np.nan
    assert np.isnan(log_sum_exp).all(), "written into the statistics of other matrices"
    for each in (elements, statistics):
        each.check_guards()
    return found


def dropout_of(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mask of the matrices of a case, struct Dropout, and its counters.

    The op has two heads and three queries more than the launch, which begins at its second head and third query.
    """
    if not case.dropout:
        return np.ones(()), np.zeros((), DROPOUT), NULL
    samples, heads = (case.inner, case.outer) if case.samples_inner else (case.outer, case.inner)
    shape = samples, heads + 2, case.queries + 3, case.length
    seed, layer, step, first = 5, 2, 2**35, 2**32
    mask = np.empty(shape)
    position = seed, layer, step, first * shape[1] * shape[2]
    OPS["dropout_mask"].numpy(mask.reshape(-1, case.length), case.dropout, position)
    mask = mask[:, 1:-1, 2:-1, case.key : case.key + case.keys]
    stale = (7, 9) if case.counters else (step, first)
    place = seed, layer, *stale, shape[2] + 2, shape[1] * shape[2], shape[2], round(case.dropout * 65536), case.length
    counters = np.array([step, first]) if case.counters else NULL
    return mask.swapaxes(0, 1) if case.samples_inner else mask, np.array(place, DROPOUT), counters


def visible(case: Case) -> np.ndarray:
    """Return (outer, inner, queries, keys) whether a query sees a key."""
    seen = np.ones((case.outer, case.inner, case.queries, case.keys), bool)
    place = case.key + np.arange(case.keys)
    if case.causal:
        seen &= place <= (case.key + case.first + np.arange(case.queries))[:, None]
    if case.lengths is not None:
        of_sample = np.array(case.lengths)[None, :] if case.samples_inner else np.array(case.lengths)[:, None]
        seen &= place < of_sample[:, :, None, None]
    if case.segments is not None:
        of_row, first = numbers(case), case.key + case.first
        of_keys = of_row[:, None, case.key : case.key + case.keys]
        same = of_keys == of_row[:, first : first + case.queries, None]
        seen &= same[None] if case.samples_inner else same[:, None]
    return seen


def numbers(case: Case) -> np.ndarray:
    """Return the segment of each token of a row (samples, length): any numbers that do not decrease."""
    rows = [np.repeat([3 * i - 4 for i in range(len(lengths))], lengths) for lengths in case.segments or ()]
    return np.array(rows, np.int64)


def softmax(scores: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return p and the logarithm of its sum of exponentials, 0 and -inf in rows that see nothing."""
    largest = np.where(seen, scores, -np.inf).max(axis=3, keepdims=True)
    largest[np.isneginf(largest)] = 0
    e = np.where(seen, np.exp(np.where(seen, scores, 0) - largest), 0)
    sums = e.sum(axis=3, keepdims=True)
    with np.errstate(divide="ignore"):
        return e / np.maximum(sums, 1), (largest + np.log(sums))[..., 0]
