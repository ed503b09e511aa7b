"""Batches of texts of similar lengths: the same on any number of ranks, padded to the longest of the global batch."""

import itertools

import numpy as np
import pytest

from mpitrain.context import PAD
from mpitrain.data import Loader, Split
from mpitrain.data.batches import STEP, BucketBatches, EqualBatches, make_batches
from mpitrain.data.text import TokenRows, TokenStream

RNG = np.random.default_rng(8)
LENGTHS = RNG.integers(1, 60, 83)


def texts(lengths=LENGTHS, longest=50, **options):
    """Text k has the tokens 1000 k, 1000 k + 1, ..."""
    tokens = np.concatenate([1000 * k + np.arange(n) for k, n in enumerate(lengths)]).astype(np.uint32)
    parts = np.array_split(tokens, 5)
    sizes = np.asarray(lengths, np.int64)
    rows = TokenRows(TokenStream(parts), np.cumsum(sizes) - sizes, sizes, longest, **options)
    return Split(rows, np.arange(len(lengths)))


def in_order(batches, seed=1, epoch=1):
    batches.begin(seed, epoch)
    return [batches.batch(step).tolist() for step in range(batches.num_steps)]


def test_rows_are_cut_and_padded():
    split = texts([3, 60, 1, 8])
    assert split.x.lengths.tolist() == [3, 50, 1, 8]
    x = split.x.take(np.array([2, 3, 0]))
    assert x.tolist() == [[2000, *[PAD] * 7], [*range(3000, 3008)], [0, 1, 2, *[PAD] * 5]]
    assert split.x.take(np.array([1])).tolist() == [list(range(1000, 1050))]
    closed = texts([3, 60], closes=True).x[0:2]
    assert closed[1].tolist() == [*range(1000, 1049), 1059]
    assert closed[0, :4].tolist() == [0, 1, 2, PAD]
    chosen = split.x.select(np.array([3, 0]))
    assert chosen[0:2].tolist() == split.x.take(np.array([3, 0])).tolist()
    assert chosen.digest() != split.x.digest()
    assert texts([3, 60, 1, 8]).x.digest() == split.x.digest()
    assert texts([3, 60, 8, 1]).x.digest() != split.x.digest()


@pytest.mark.parametrize("size", [1, 4, 10, 83, 100])
def test_batches_of_a_number_of_rows(size):
    batches = BucketBatches(LENGTHS, size)
    found = in_order(batches)
    assert sorted(itertools.chain(*found)) == list(range(83))
    assert batches.num_steps == -(-83 // size)
    assert all(len(batch) == min(size, 83) for batch in found[:-1])
    assert [batches.before(step) for step in range(batches.num_steps + 1)] == np.cumsum([0, *map(len, found)]).tolist()
    assert in_order(batches, epoch=1) == found
    if size < 83:
        assert in_order(batches, epoch=2) != found
        assert in_order(batches, seed=2) != found
    _check_lengths(found)


@pytest.mark.parametrize("tokens", [1, 64, 200, 1000, 10_000])
def test_batches_of_a_number_of_tokens(tokens):
    batches = BucketBatches(LENGTHS, 0, tokens)
    found = in_order(batches)
    assert sorted(itertools.chain(*found)) == list(range(83))
    assert batches.largest == max(map(len, found))
    assert sorted(map(len, found)) == sorted(map(len, in_order(batches, epoch=7)))
    for batch in found:
        width = -(-LENGTHS[batch].max() // STEP) * STEP
        assert len(batch) * width <= tokens or len(batch) == 1
    _check_lengths(found)
    assert sorted(map(len, found)) == sorted(greedy(sorted(-(-LENGTHS // STEP) * STEP), tokens))


def greedy(widths, tokens):
    """Return the sizes of batches that take row after row while they fit."""
    sizes = [0]
    for width in widths:
        if sizes[-1] and (sizes[-1] + 1) * width > tokens:
            sizes.append(0)
        sizes[-1] += 1
    return sizes


def _check_lengths(found):
    """Batches do not overlap in their lengths, but for equal ones."""
    ranges = sorted((-(-LENGTHS[batch].min() // STEP), -(-LENGTHS[batch].max() // STEP)) for batch in found)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(ranges))


def test_what_is_divided_how():
    assert isinstance(make_batches(texts().x, 5), BucketBatches)
    assert isinstance(make_batches(texts().x, 5, shuffle=False), EqualBatches)
    assert isinstance(make_batches(np.zeros((9, 4)), 5), EqualBatches)


def epoch(size, *, start=0, **options):
    found = {}
    for rank in range(size):
        loader = Loader(texts(), rank=rank, size=size, seed=3, normalizer=None, **({"batch_size": 9} | options))
        widths = []
        for step, batches in enumerate(loader.epoch(2, start), start):
            for batch in batches:
                assert batch.x.flags.c_contiguous
                assert batch.y.tolist() == batch.indices.tolist()
                widths.append((step, batch.x.shape[1]))
                for row in range(len(batch)):
                    found[step, batch.first + row] = batch.x[row].tolist(), int(batch.y[row])
        assert len(dict(widths)) == len(set(widths)), "a step has one width"
    return found


@pytest.mark.parametrize("options", [{}, {"batch_tokens": 300}], ids=["rows", "tokens"])
@pytest.mark.parametrize("size", [2, 3, 20])
def test_the_same_on_any_number_of_ranks(size, options):
    one = epoch(1, **options)
    assert sorted(label for _, label in one.values()) == list(range(83))
    for x, label in one.values():
        there = [token for token in x if token != PAD]
        assert there == list(range(1000 * label, 1000 * label + min(50, LENGTHS[label])))
    assert epoch(size, **options) == epoch(size, microbatches=3, **options) == one
    assert epoch(size, start=2, **options) == {key: value for key, value in one.items() if key[0] >= 2}
    assert {len(x) for x, _ in epoch(size, whole_rows=True, **options).values()} == {50}
