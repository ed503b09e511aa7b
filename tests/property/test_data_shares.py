import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mpitrain.data import Augment, Loader, Split, epoch_order, num_steps, share, step_shares

NUM_MAX = 60
IMAGES = np.random.default_rng(8).integers(1, 256, (NUM_MAX, 4, 3, 2), dtype=np.uint8)

counts = st.integers(1, NUM_MAX)
sizes = st.integers(1, 9)


@given(st.integers(0, 1000), sizes)
def test_shares_are_contiguous_and_balanced(count, size):
    parts = [share(count, rank, size) for rank in range(size)]
    assert parts[0].start == 0
    assert parts[-1].stop == count
    assert all(part.stop == following.start for part, following in itertools.pairwise(parts))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1
    assert lengths == sorted(lengths, reverse=True)


@given(counts, counts, sizes)
def test_shares_of_the_ranks_make_up_each_batch(num_samples, batch_size, size):
    ranks = [list(step_shares(num_samples, batch_size, rank, size)) for rank in range(size)]
    assert all(len(steps) == num_steps(num_samples, batch_size) for steps in ranks)
    end = 0
    for steps in zip(*ranks):
        assert len({(work.step, work.batch.start, work.batch.stop) for work in steps}) == 1
        for work in steps:
            assert work.part.start == end
            assert work.first == work.part.start - work.batch.start
            end = work.part.stop
        assert end == steps[0].batch.stop
    assert end == num_samples


@given(counts, st.integers(0, 2**64 - 1), st.integers(0, 1000))
def test_an_epoch_takes_each_sample_once(num_samples, seed, epoch):
    order = epoch_order(num_samples, seed, epoch)
    np.testing.assert_array_equal(np.sort(order), np.arange(num_samples))


def test_epochs_and_seeds_differ():
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_the_order_is_the_same_everywhere():
    assert epoch_order(10, 1, 0).tolist() == [9, 0, 7, 6, 4, 5, 8, 1, 2, 3]
    assert epoch_order(10, 1, 0, shuffle=False).tolist() == list(range(10))


def epoch_on(num_samples, batch_size, size, microbatches, prefetch, epoch):
    """Return what all ranks and microbatches together see, step by step in global order."""
    split = Split(IMAGES[:num_samples], np.arange(num_samples))
    loaders = [
        Loader(
            split,
            batch_size=batch_size,
            rank=rank,
            size=size,
            seed=3,
            normalizer=None,
            augment=Augment(3, crop=1, flip=True),
            microbatches=microbatches,
            prefetch=prefetch,
        )
        for rank in range(size)
    ]
    x, y = [], []
    for steps in zip(*(loader.epoch(epoch) for loader in loaders), strict=True):
        assert all(len(batches) == microbatches for batches in steps)
        place = 0
        parts = [(m, batch.first, len(batch), batch) for batches in steps for m, batch in enumerate(batches)]
        for *_, batch in sorted(parts, key=lambda part: part[:3]):
            assert batch.first == place
            np.testing.assert_array_equal(batch.indices, batch.y)
            place += len(batch)
            x.append(batch.x.copy())
            y.append(batch.y.copy())
    return np.concatenate(x), np.concatenate(y)


@settings(max_examples=40, deadline=None)
@given(counts, counts, sizes, st.integers(1, 4), st.integers(0, 2), st.integers(0, 5))
def test_what_is_seen_does_not_depend_on_the_ranks(num_samples, batch_size, size, microbatches, prefetch, epoch):
    x, y = epoch_on(num_samples, batch_size, size, microbatches, prefetch, epoch)
    np.testing.assert_array_equal(np.sort(y), np.arange(num_samples))
    np.testing.assert_array_equal(y, epoch_order(num_samples, 3, epoch))
    alone, _ = epoch_on(num_samples, num_samples, 1, 1, 0, epoch)
    np.testing.assert_array_equal(x, alone)
