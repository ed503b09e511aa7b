"""The validation split: drawn from the training samples, stratified, apart from the test samples."""

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from mpitrain.data import Dataset, Split, open_dataset
from mpitrain.data.matching.fingerprint import contents
from mpitrain.data.validation import with_validation
from mpitrain.errors import UserError


def dataset(y):
    """Return a dataset whose samples are their row numbers."""
    y = np.asarray(y)
    x = np.arange(len(y), dtype=np.float64)[:, None]
    return Dataset("set", "classification", Split(x, y), Split(-1 - x[:3], y[:3]), int(y.max(initial=0)) + 1)


def rows(split):
    return split.x[:, 0].astype(int)


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=8), share=st.floats(0.02, 0.7), seed=st.integers(0, 2**32)
)
def test_each_class_gives_its_part(counts, share, seed):
    note(f"counts {counts}, share {share}, seed {seed}")
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    whole = dataset(y)
    count = max(1, round(share * len(y)))
    if max(counts) == 1 or count >= len(y):
        with pytest.raises(UserError):
            with_validation(whole, share, seed)
        return
    found = with_validation(whole, share, seed)
    assert found.test is whole.test
    train, validation = rows(found.train), rows(found.validation)
    assert sorted([*train, *validation]) == list(range(len(y)))
    for part, split in ((train, found.train), (validation, found.validation)):
        assert (np.diff(part) > 0).all()
        np.testing.assert_array_equal(split.y, y[part])
    quota = np.array(counts) * count / len(y)
    taken = np.bincount(found.validation.y, minlength=len(counts))
    assert (taken <= np.ceil(quota - 1e-9)).all()
    assert np.bincount(found.train.y).min() >= 1


def test_a_number_and_a_share_are_the_same_draw():
    whole = dataset(np.arange(100) % 4)
    a, b = (with_validation(whole, amount, 3) for amount in (0.2, 20))
    np.testing.assert_array_equal(rows(a.validation), rows(b.validation))
    assert len(a.validation) == 20
    assert (np.bincount(a.validation.y) == 5).all()
    other = with_validation(whole, 20, 4)
    assert not np.array_equal(rows(a.validation), rows(other.validation))


def test_random_and_numbers():
    whole = dataset(np.arange(100) % 4)
    assert len(with_validation(whole, 21, 0, "random").validation) == 21
    numbers = Dataset("set", "regression", Split(whole.train.x, np.zeros((100, 2))), whole.test, 2)
    assert len(with_validation(numbers, 0.5, 0).validation) == 50


def test_none_leaves_the_dataset_as_it_is():
    whole = dataset(np.arange(10) % 2)
    assert with_validation(whole, 0, 0) is whole


@pytest.mark.parametrize(
    ("y", "amount", "message"),
    [
        (np.arange(10) % 2, 10, "takes 10 of the 10 training samples of set: nothing is left to train on"),
        (np.arange(10) % 2, 0.99, "takes 10 of the 10"),
        (np.arange(10), 0.5, "every training sample is the only one of its class"),
    ],
)
def test_a_draw_that_leaves_nothing(y, amount, message):
    with pytest.raises(UserError, match=message):
        with_validation(dataset(y), amount, 0)


def test_the_fingerprint_has_lines_of_the_validation_split():
    whole = open_dataset("digits")
    found = with_validation(whole, 0.1, 0)
    assert list(contents(found)) == [
        f"{name} {part}" for name in ("training", "validation", "test") for part in ("samples", "targets")
    ]
    assert contents(found)["test samples"] == contents(whole)["test samples"]
