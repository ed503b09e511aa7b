import threading

import numpy as np
import pytest

from mpitrain.data import Augment, Loader, Normalizer, Split, epoch_order
from mpitrain.data.loader import has_contents
from mpitrain.errors import UserError

RNG = np.random.default_rng(7)
IMAGES = Split(RNG.integers(0, 256, (23, 5, 4, 3), dtype=np.uint8), RNG.integers(0, 10, 23))
TABLE = Split(RNG.standard_normal((23, 4)).astype(np.float32), RNG.standard_normal((23, 2)).astype(np.float32))
WIDE = Split(1.7e9 + RNG.standard_normal((23, 4)), 1e12 + RNG.standard_normal((23, 2)))
WIDE_IMAGES = Split(RNG.standard_normal((23, 5, 4, 3)), IMAGES.y)


def make(split=IMAGES, **changes):
    options = {"batch_size": 5, "rank": 0, "size": 1, "seed": 1, "normalizer": None} | changes
    return Loader(split, **options)


def copies(loader, *args):
    """All batches of an epoch as (x, y, first, indices), copied since their memory is used again."""
    return [[(b.x.copy(), b.y.copy(), b.first, b.indices.copy()) for b in step] for step in loader.epoch(*args)]


def assert_equal(one, other):
    assert len(one) == len(other)
    for step, other_step in zip(one, other):
        for batch, other_batch in zip(step, other_step, strict=True):
            for part, other_part in zip(batch, other_batch, strict=True):
                np.testing.assert_array_equal(part, other_part)


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("split", [IMAGES, TABLE, WIDE, WIDE_IMAGES], ids=["bytes", "float32", "float64", "images"])
def test_batches(split, prefetch):
    normalizer = Normalizer.fit(split.x)
    target_normalizer = Normalizer.fit(split.y) if split.y.ndim == 2 else None
    loader = make(split, normalizer=normalizer, target_normalizer=target_normalizer, prefetch=prefetch)
    order = epoch_order(23, 1, 4)
    steps = copies(loader, 4)
    assert len(loader) == len(steps) == 5
    for step, [(x, y, first, indices)] in enumerate(steps):
        np.testing.assert_array_equal(indices, order[5 * step : 5 * step + 5])
        np.testing.assert_array_equal(x, normalizer(split.x[indices]))
        expected = split.y[indices]
        np.testing.assert_array_equal(y, target_normalizer(expected) if target_normalizer else expected)
        assert first == 0
        assert x.dtype == np.float32
        assert y.dtype == (np.int64 if y.ndim == 1 else np.float32)


@pytest.mark.parametrize("augment", [None, Augment(1, 2, True)])
def test_float64_in_memory_and_mapped(tmp_path, augment):
    """A memory map is normalized batch by batch, and nothing is written into it; memory is normalized ahead."""
    wide = WIDE if augment is None else Split(WIDE_IMAGES.x, WIDE.y)
    np.save(tmp_path / "x.npy", wide.x)
    mapped = Split(np.load(tmp_path / "x.npy", mmap_mode="r"), wide.y)
    options = {
        "normalizer": Normalizer.fit(wide.x),
        "target_normalizer": Normalizer.fit(wide.y),
        "augment": augment,
        "microbatches": 2,
    }
    before = wide.x.copy()
    assert_equal(copies(make(mapped, **options)), copies(make(wide, **options)))
    np.testing.assert_array_equal(wide.x, before)


def test_without_a_normalizer_bytes_become_floats():
    for [batch] in make(prefetch=0).epoch():
        np.testing.assert_array_equal(batch.x, IMAGES.x[batch.indices])
        assert batch.x.dtype == np.float32


def test_evaluation_order_and_no_targets():
    loader = make(Split(TABLE.x, np.empty((23, 0), np.float32)), shuffle=False)
    steps = copies(loader)
    np.testing.assert_array_equal(np.concatenate([indices for [(_, _, _, indices)] in steps]), np.arange(23))
    assert steps[-1][0][1].shape == (3, 0)


def test_more_ranks_than_samples_give_empty_batches():
    loader = make(batch_size=2, rank=3, size=4, microbatches=2, augment=Augment(1, 1, True))
    for step in loader.epoch():
        assert [batch.x.shape for batch in step] == [(0, 5, 4, 3)] * 2
        assert [len(batch) for batch in step] == [0, 0]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_resuming_in_the_middle(prefetch):
    loader = make(prefetch=prefetch, augment=Augment(1, 2, True), microbatches=2)
    whole = copies(loader, 3)
    for start in (0, 2, 4, 5, 9):
        assert_equal(copies(loader, 3, start), whole[start:])


@pytest.mark.parametrize("prefetch", [0, 1, 2])
def test_a_batch_is_valid_until_the_next(prefetch):
    loader = make(prefetch=prefetch, batch_size=1)
    for epoch in range(3):
        for [batch] in loader.epoch(epoch):
            np.testing.assert_array_equal(batch.x, IMAGES.x[batch.indices])


def test_no_more_is_prepared_ahead_than_an_epoch_has():
    loader = make(prefetch=10**9)
    assert loader.prefetch == 5
    assert_equal(copies(loader), copies(make()))


def test_memory_is_used_again():
    loader = make(prefetch=2, batch_size=1)
    places = {batch.x.ctypes.data for epoch in range(3) for [batch] in loader.epoch(epoch)}
    assert len(places) == 4


def test_leaving_early_ends_the_thread():
    loader = make()
    for _ in loader.epoch():
        assert any(thread.name == "mpitrain-input" for thread in threading.enumerate())
        break
    assert not any(thread.name == "mpitrain-input" for thread in threading.enumerate())
    assert_equal(copies(loader), copies(make()))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_one_epoch_at_a_time(prefetch):
    loader = make(prefetch=prefetch)
    first, second = loader.epoch(0), loader.epoch(1)
    next(first)
    next(second)
    with pytest.raises(RuntimeError, match="ended by a later one"):
        next(first)
    assert len(list(second)) == 4


def test_an_error_of_the_thread_reaches_the_consumer():
    def fails(x, out, overwrite):
        raise FloatingPointError("bad pixel")

    with pytest.raises(FloatingPointError, match="bad pixel"):
        next(make(normalizer=fails).epoch())


@pytest.mark.parametrize("prefetch", [0, 2])
def test_waiting_is_counted(prefetch):
    loader = make(prefetch=prefetch)
    list(loader.epoch())
    after_one = loader.wait_seconds
    list(loader.epoch())
    assert 0 < after_one < loader.wait_seconds


def test_wrong_arguments():
    for changes in ({"batch_size": 0}, {"rank": 1}, {"microbatches": 0}, {"prefetch": -1}):
        with pytest.raises(ValueError, match="batch_size="):
            make(**changes)
    with pytest.raises(UserError, match="crops and flips need images"):
        make(TABLE, augment=Augment(1, 2))
    make(TABLE, augment=Augment(1))


@pytest.mark.parametrize("microbatches", [1, 3, 8])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_microbatches_are_those_of_one_rank(size, microbatches):
    """Each is divided among the ranks, which get equally many samples of a step, up to one."""
    whole = copies(make(batch_size=9, microbatches=microbatches), 2)
    ranks = [copies(make(batch_size=9, microbatches=microbatches, rank=r, size=size), 2) for r in range(size)]
    for step, expected in enumerate(whole):
        own = [rank[step] for rank in ranks]
        for m, (x, y, first, indices) in enumerate(expected):
            parts = sorted((rank[m] for rank in own), key=lambda part: (part[2], len(part[3])))
            found = [np.concatenate([part[i] for part in parts]) for i in (0, 1, 3)]
            for array, wanted in zip(found, (x, y, indices), strict=True):
                np.testing.assert_array_equal(array, wanted)
            firsts = [part[2] for part in parts if len(part[3])]
            lengths = [len(part[3]) for part in parts if len(part[3])]
            assert firsts == [first + sum(lengths[:i]) for i in range(len(lengths))]
        samples = [sum(len(part[3]) for part in rank) for rank in own]
        assert max(samples) - min(samples) <= 1


@pytest.mark.parametrize("split", [IMAGES, TABLE, WIDE], ids=["bytes", "float32", "float64"])
def test_what_a_stage_does_not_use(split):
    options = {"normalizer": Normalizer.fit(split.x), "microbatches": 2, "batch_size": 6}
    for inputs, targets in ((True, False), (False, True), (False, False)):
        loader, whole = make(split, inputs=inputs, targets=targets, **options), make(split, **options)
        for step, (some, everything) in enumerate(zip(loader.epoch(), whole.epoch(), strict=True)):
            for batch, other in zip(some, everything, strict=True):
                assert (len(batch), batch.first, batch.x.shape, batch.y.shape) == (
                    *(len(other), other.first, other.x.shape, other.y.shape),
                )
                assert (batch.x.dtype, batch.y.dtype) == (other.x.dtype, other.y.dtype)
                for used, mine, theirs in ((inputs, batch.x, other.x), (targets, batch.y, other.y)):
                    assert has_contents(mine) == used, step
                    assert not used or np.array_equal(mine, theirs)
