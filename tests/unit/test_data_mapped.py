"""Rows of a mapped file behave as their copies in memory."""

import numpy as np
import pytest

from mpitrain.data import Loader, Normalizer, Split, blocks, lazy
from mpitrain.data.lazy import select
from mpitrain.data.mapped import MappedRows, is_mapped
from mpitrain.data.matching.fingerprint import digest_array
from mpitrain.data.matching.signature import Extremes
from mpitrain.data.report import _describe

RNG = np.random.default_rng(11)


@pytest.fixture(params=[((7, 5, 3), np.uint8), ((6,), np.float32), ((2, 2, 1), np.float64)], ids=str)
def file(request, tmp_path):
    shape, dtype = request.param
    values = RNG.integers(0, 256, (53, *shape)).astype(dtype)
    values.tofile(tmp_path / "x.bin")
    return np.memmap(tmp_path / "x.bin", dtype, "r", shape=values.shape)


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.setattr(lazy, "COPIED", 0)
    return RNG.permutation(53)[:41]


def test_as_an_array(file, rows):
    picked, copy = select(file, rows), np.array(file)[rows]
    assert isinstance(picked, MappedRows)
    assert is_mapped(picked)
    assert (picked.shape, picked.ndim, picked.size, picked.nbytes) == (copy.shape, copy.ndim, copy.size, copy.nbytes)
    for place in (3, slice(2, 30, 3), slice(None), np.array([4, 4, 0]), (slice(None), 0)):
        np.testing.assert_array_equal(picked[place], copy[place])
    np.testing.assert_array_equal(np.asarray(picked), copy)
    np.testing.assert_array_equal(list(picked), copy)
    again = np.array([7, 2, 2])
    np.testing.assert_array_equal(select(picked, again)[:], copy[again])


def test_few_rows_are_copied(file):
    assert not is_mapped(select(file, np.arange(5)))


def test_hash_statistics_and_report(file, rows, monkeypatch):
    picked, copy = select(file, rows), np.array(file)[rows]
    assert digest_array(picked) == digest_array(copy)
    mine = slice(5, 29)
    for name in ("mean", "std"):
        found = [getattr(Normalizer.fit(x, mine), name) for x in (picked, copy)]
        np.testing.assert_array_equal(*found)
    found = [Extremes.of(x, mine) for x in (picked, copy)]
    np.testing.assert_array_equal(found[0].least, found[1].least)
    np.testing.assert_array_equal(found[0].most, found[1].most)
    assert _describe(picked) == _describe(copy)


def test_blocks_of_large_rows_have_the_hash_of_a_copy(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(blocks, "WHOLE", 1 << 16)
    monkeypatch.setattr(blocks, "NUM_BLOCKS", 8)
    monkeypatch.setattr(blocks, "BLOCK", 1000)
    values = RNG.integers(0, 256, (53, 3001)).astype(np.uint8)  # rows that no block ends with
    assert digest_array(MappedRows(values, rows)) == digest_array(values[rows])


def test_batches(file, rows):
    picked, copy = select(file, rows), np.array(file)[rows]
    normalizer = Normalizer.fit(copy)
    options = {"batch_size": 16, "rank": 1, "size": 2, "seed": 3, "normalizer": normalizer, "prefetch": 0}
    loaders = [Loader(Split(x, np.arange(len(rows))), **options) for x in (picked, copy)]
    assert loaders[0].normalized_bytes == 0
    for one, other in zip(loaders[0].epoch(1), loaders[1].epoch(1), strict=True):
        np.testing.assert_array_equal(one[0].y, other[0].y)
        np.testing.assert_allclose(one[0].x, other[0].x, rtol=1e-6)
