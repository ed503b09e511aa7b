"""Windows of token streams: each token is predicted once in an epoch, whatever the shift, the parts and the ranks."""

import itertools

import numpy as np
import pytest

from mpitrain.context import PAD
from mpitrain.data import Loader
from mpitrain.data.rng import ORDER, RandomOrder
from mpitrain.data.text import TokenStream, Windows, cut_windows, language_split

RNG = np.random.default_rng(3)


def stream(count, parts=1):
    """Different tokens, so that each tells its place."""
    return TokenStream(np.array_split(RNG.permutation(count).astype(np.uint16), parts))


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_streams_read_across_parts(parts):
    tokens = stream(40, parts)
    whole = np.concatenate(tokens.parts)
    assert len(tokens) == 40
    for start in range(40):
        for stop in range(start, 41):
            np.testing.assert_array_equal(tokens.read(start, stop), whole[start:stop])
            between = tokens.between(start, stop)
            assert len(between) == stop - start
            np.testing.assert_array_equal(between.read(0, len(between)), whole[start:stop])


def test_digests_depend_on_the_tokens_alone():
    tokens = RNG.integers(0, 200, 100)
    one = TokenStream([tokens.astype(np.uint8)])
    other = TokenStream([tokens[:31].astype(np.uint16), tokens[31:].astype(np.uint32)])
    assert one.digest() == other.digest()
    tokens[50] += 1
    assert TokenStream([tokens.astype(np.uint8)]).digest() != one.digest()


@pytest.mark.parametrize("count", [2, 3, 17, 33, 34])
@pytest.mark.parametrize("length", [1, 4, 16, 40])
def test_each_token_is_predicted_once_by_the_one_before(count, length):
    tokens = stream(count, 3)
    whole = tokens.read(0, count)
    after = dict(zip(whole.tolist(), whole[1:].tolist()))
    split = language_split(tokens, length)
    assert len(split) == -(-(count - 1) // length)
    for epoch in (None, 1, 2, 3):
        x, y = ((v if epoch is None else v.of_epoch(5, epoch))[:] for v in (split.x, split.y))
        assert x.shape == y.shape == (len(split), length)
        assert ((x == PAD) == (y == -100)).all()
        assert sorted(y[y >= 0].tolist()) == sorted(whole[1:].tolist())
        assert all(after[token] == target for token, target in zip(x[x >= 0].tolist(), y[y >= 0].tolist()))
        for row in x:  # in the order of the text, but for the end that continues with the beginning
            there = row[row >= 0]
            places = [whole.tolist().index(token) for token in there.tolist()]
            assert all((b - a) % (count - 1) in (1, 0) for a, b in itertools.pairwise(places))


def test_windows_of_epochs_begin_elsewhere_and_the_same_in_each_run():
    x = Windows(stream(1000), 64, "inputs")
    shifts = [x.of_epoch(1, epoch).shift for epoch in range(20)]
    assert shifts == [x.of_epoch(1, epoch).shift for epoch in range(20)]
    assert len(set(shifts)) > 10
    assert max(shifts) < 64
    assert shifts != [x.of_epoch(2, epoch).shift for epoch in range(20)]


def test_the_parts_of_a_cut_share_no_prediction():
    tokens = stream(100)
    left, right = cut_windows(language_split(tokens, 8), 3)
    assert len(right) == 3
    predicted = [split.y[:][split.y[:] >= 0].tolist() for split in (left, right)]
    assert len(predicted[1]) == 24
    assert sorted(predicted[0] + predicted[1]) == sorted(tokens.read(1, 100).tolist())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 1000, 4096, 9000])
def test_random_orders_are_permutations_by_parts(count):
    order = RandomOrder(count, 7, ORDER, 1)
    whole = order[0:count]
    assert sorted(whole.tolist()) == list(range(count))
    for step in (3, 5000):
        np.testing.assert_array_equal(np.concatenate([order[k : k + step] for k in range(0, count, step)]), whole)
    assert order[count : count + 5].tolist() == order[2:1].tolist() == []
    if count > 16:
        assert (RandomOrder(count, 7, ORDER, 2)[0:count] != whole).any()
        assert abs(np.corrcoef(whole, np.arange(count))[0, 1]) < 4 / np.sqrt(count)


def epoch(size, epoch=1, *, batch_size=6, start=0, **options):
    """All samples of an epoch of all ranks as {(step, place): (x, y)}."""
    found = {}
    split = language_split(TokenStream([np.arange(200, dtype=np.uint16)]), 8)
    for rank in range(size):
        loader = Loader(split, batch_size=batch_size, rank=rank, size=size, seed=4, normalizer=None, **options)
        for step, batches in enumerate(loader.epoch(epoch, start), start):
            for batch in batches:
                assert batch.x.dtype == batch.y.dtype == np.int64
                assert batch.x.flags.c_contiguous
                for row in range(len(batch)):
                    key = step, batch.first + row
                    assert key not in found
                    found[key] = batch.x[row].tolist(), batch.y[row].tolist()
    return found


@pytest.mark.parametrize("size", [2, 3, 5, 40])
def test_loaders_give_the_same_windows_on_any_number_of_ranks(size):
    one = epoch(1)
    assert len(one) == 25
    assert epoch(size) == epoch(size, microbatches=2) == epoch(size, prefetch=0) == one
    assert epoch(size, 2) != one
    resumed = epoch(size, start=3)
    assert resumed == {key: value for key, value in one.items() if key[0] >= 3}


def test_memory_does_not_grow_with_the_text(tmp_path):
    """A sparse file of 64 GiB, of which a few windows are read."""
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(64 << 30)
    split = language_split(TokenStream([np.memmap(path, "<u2", "r")]), 1024)
    loader = Loader(split, batch_size=4, rank=1, size=2, seed=0, normalizer=None, prefetch=1)
    assert len(loader) == (1 << 25) // 4
    (batch,) = next(loader.epoch(3))
    assert batch.x.shape == (2, 1024)
    assert split.x.num_bytes == 0
    assert split.x.digest().startswith("(33554432, 1024) int64 ")
