"""Shares by weight: every sample of a batch on one rank, whatever the weights, and changes that begin at a step."""

import itertools
import random

import numpy as np
import pytest

from mpitrain.data import Augment, Loader, Normalizer, Split
from mpitrain.data.sampler import divide, divide_microbatches, share, weighted_share
from mpitrain.data.text.rows import TokenRows
from mpitrain.data.text.stream import TokenStream
from tests.unit.test_data_loader import IMAGES, copies, make

PICK = random.Random(4)


def random_weights(size):
    return tuple(PICK.choice([1.0, 2.0, 1e-9, 3.7, 1e12, PICK.random() + 1e-3]) for _ in range(size))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 17])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 64, 1001])
def test_parts_are_near_their_weights(count, size):
    for _ in range(20):
        weights = random_weights(size)
        numbers = divide(count, weights)
        assert sum(numbers) == count
        for number, weight in zip(numbers, weights):
            assert number >= 0
            assert abs(number - count * weight / sum(weights)) < 1 + 1e-6


def test_equal_weights_divide_as_share_does():
    for count, size in itertools.product((0, 1, 5, 64, 65), (1, 2, 3, 8)):
        parts = [share(count, rank, size) for rank in range(size)]
        assert divide(count, [0.3] * size) == [part.stop - part.start for part in parts]


@pytest.mark.parametrize("microbatches", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("samples", [1, 9, 33, 256])
def test_microbatches_are_divided_without_a_drift(samples, microbatches):
    """Each has its samples; over the whole step no rank is more than one from its exact part."""
    for size in (1, 2, 3, 5):
        weights = random_weights(size)
        rows = divide_microbatches(samples, microbatches, weights)
        for m, row in enumerate(rows):
            part = share(samples, m, microbatches)
            assert sum(row) == part.stop - part.start
            assert min(row) >= 0
            places = [weighted_share(samples, m, microbatches, rank, weights) for rank in range(size)]
            assert places[0].start == part.start
            assert places[-1].stop == part.stop
            assert all(one.stop == other.start for one, other in itertools.pairwise(places))
        for rank, weight in enumerate(weights):
            exact = samples * weight / sum(weights)
            assert abs(sum(row[rank] for row in rows) - exact) <= 1 + 1e-6


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("microbatches", [1, 3])
@pytest.mark.parametrize("weights", [(1.0, 5.0), (3.0, 1.0, 1.0, 7.5), (1e-6, 1.0, 1.0)])
def test_a_batch_is_divided_by_weight(weights, microbatches, prefetch):
    """The ranks' samples, in order, are those of one rank, augmented alike; ``first`` is the place in the batch."""
    options = {"batch_size": 9, "microbatches": microbatches, "augment": Augment(1, 1, True), "prefetch": prefetch}
    options["normalizer"] = Normalizer.fit(IMAGES.x)
    size = len(weights)
    whole = copies(make(**options), 2)
    ranks = [copies(make(**options, rank=r, size=size, weights=weights), 2) for r in range(size)]
    assert_divided(whole, ranks)
    numbers = [sum(len(batch[3]) for batch in rank[0]) for rank in ranks]
    assert all(abs(n - 9 * w / sum(weights)) <= 1 for n, w in zip(numbers, weights))


def assert_divided(whole, ranks):
    for step, expected in enumerate(whole):
        for m, (x, y, first, indices) in enumerate(expected):
            parts = sorted((rank[step][m] for rank in ranks), key=lambda part: (part[2], len(part[3])))
            for i, wanted in ((0, x), (1, y), (3, indices)):
                np.testing.assert_array_equal(np.concatenate([part[i] for part in parts]), wanted)
            before = itertools.accumulate((len(part[3]) for part in parts), initial=first)
            assert [part[2] for part in parts] == list(before)[:-1]


@pytest.mark.parametrize("prefetch", [0, 1, 2])
def test_shares_change_from_a_step_on(prefetch):
    """At the first step that cannot be prepared yet, with more memory where a share grows; and for the epochs after."""
    changes = iter([(9.0, 1.0), (1.0, 20.0), (1.0, 1.0), (1.0, 4.0), (7.0, 2.0)])
    options = {"batch_size": 6, "prefetch": prefetch, "augment": Augment(1, 1, True), "microbatches": 2}
    whole = [copies(make(**options), epoch) for epoch in range(5)]
    loaders = [make(**options, rank=r, size=2) for r in range(2)]
    planned = [((0, 0), ())]
    for epoch in range(5):
        found = [[], []]
        for step, both in enumerate(zip(*(loader.epoch(epoch) for loader in loaders), strict=True)):
            for rank, batches in enumerate(both):
                found[rank].append([(b.x.copy(), b.y.copy(), b.first, b.indices.copy()) for b in batches])
            weights = [weights for place, weights in planned if place <= (epoch, step)][-1] or (1.0, 1.0)
            numbers = [sum(map(len, batches)) for batches in both]
            assert all(abs(n - sum(numbers) * w / sum(weights)) <= 1 for n, w in zip(numbers, weights))
            if (len(loaders[0]) * epoch + step) % 4 == 1:
                planned.append(((epoch, step + 1 + loaders[0].lead), next(changes)))
                for loader in loaders:
                    loader.divide_from(*planned[-1])
        assert_divided(whole[epoch], found)


def test_rows_of_tokens():
    rng = np.random.default_rng(0)
    sizes = rng.integers(3, 30, 40)
    stream = TokenStream([rng.integers(0, 50, sizes.sum()).astype(np.uint8)])
    split = Split(TokenRows(stream, np.cumsum(sizes) - sizes, sizes, 32), rng.integers(0, 3, 40))
    options = {"batch_size": 8, "normalizer": None, "seed": 3, "microbatches": 2}
    whole = copies(Loader(split, rank=0, size=1, **options), 1)
    weights = (1.0, 6.0, 2.0)
    assert_divided(whole, [copies(Loader(split, rank=r, size=3, weights=weights, **options), 1) for r in range(3)])


def test_wrong_weights():
    for changes in ({"weights": (1.0,)}, {"weights": (1.0, 0.0)}, {"weights": (1.0, 2.0), "virtual_ranks": True}):
        with pytest.raises(ValueError, match="weights="):
            make(size=2, **changes)
