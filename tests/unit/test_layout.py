"""Chunks of given lengths: schedules simulated with them, for every P from 1 to 17 and any lengths, 0 included."""

import itertools

import numpy as np
import pytest

from mpitrain.collectives import find, names, simulate
from mpitrain.collectives.layout import Layout

SIZES = range(1, 18)


def lengths_of(size, seed):
    """Return lengths for every pair of ranks, a third of them 0."""
    random = np.random.default_rng([size, seed])
    return random.integers(0, 7, (size, size)) * (random.random((size, size)) > 0.3)


def parts_of(lengths, seed):
    return [np.random.default_rng([seed, i]).standard_normal(n) for i, n in enumerate(lengths)]


@pytest.mark.parametrize("name", names("all_gather"))
def test_all_gather_of_uneven_parts(name):
    for size in SIZES:
        lengths = lengths_of(size, 1)[0].tolist()
        parts = parts_of(lengths, size)
        whole = np.concatenate(parts)
        ends = list(itertools.accumulate(lengths, initial=0))
        inputs = [np.zeros_like(whole) for _ in range(size)]
        for rank, part in enumerate(parts):
            inputs[rank][ends[rank] : ends[rank + 1]] = part
        for found in simulate(find(name), inputs, counts=[[lengths]] * size):
            np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("name", names("reduce_scatter"))
def test_reduce_scatter_of_uneven_parts(name):
    for size in SIZES:
        lengths = lengths_of(size, 2)[0].tolist()
        ends = list(itertools.accumulate(lengths, initial=0))
        inputs = [np.random.default_rng([size, rank]).integers(-99, 99, sum(lengths)) * 1.0 for rank in range(size)]
        for rank, found in enumerate(simulate(find(name), inputs, counts=[[lengths]] * size)):
            own = slice(ends[rank], ends[rank + 1])
            np.testing.assert_array_equal(found[own], sum(inputs)[own])


def test_ragged_all_to_all():
    for size in SIZES:
        lengths = lengths_of(size, 3)
        parts = [parts_of(row, rank) for rank, row in enumerate(lengths.tolist())]
        counts = [(lengths[rank].tolist(), lengths[:, rank].tolist()) for rank in range(size)]
        found = simulate(find("all_to_all/pairwise"), [np.concatenate(row) for row in parts], counts=counts)
        for rank, arrived in enumerate(found):
            np.testing.assert_array_equal(arrived, np.concatenate([row[rank] for row in parts]))


@pytest.mark.parametrize("reach", [1, 3])
def test_halos_of_any_lengths(reach):
    distances = [distance for distance in range(-reach, reach + 1) if distance]
    for size in SIZES:
        lengths = lengths_of(size, 4).tolist()
        peers = [[rank + d if 0 <= rank + d < size else None for d in distances] for rank in range(size)]
        going = [[0 if p is None else lengths[rank][p] for p in peers[rank]] for rank in range(size)]
        coming = [[0 if p is None else lengths[p][rank] for p in peers[rank]] for rank in range(size)]
        parts = [parts_of(going[rank], rank) for rank in range(size)]
        counts = list(zip(going, coming, strict=True))
        found = simulate(
            find(f"halo_exchange/shift:reach={reach}"), [np.concatenate(row) for row in parts], counts=counts
        )
        for rank, arrived in enumerate(found):
            expected = [parts[p][distances.index(rank - p)] for p in peers[rank] if p is not None]
            np.testing.assert_array_equal(arrived, np.concatenate([np.empty(0), *expected]))


@pytest.mark.parametrize("counts", [[[1, 2]], [[1, 2, 3]], [[3, 1], [4, 0]], []])
def test_counts_that_do_not_fit(counts):
    with pytest.raises(ValueError, match="but the counts are"):
        Layout(find("all_gather/ring"), 2, 4, counts)
