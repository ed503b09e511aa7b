import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from mpitrain.data import Split
from mpitrain.data.draw import draw_test_split, note_rare_classes
from mpitrain.data.rng import SPLIT, random_order
from mpitrain.errors import UserError


def drawn(y, fraction=0.2, seed=0, draw="stratified"):
    """Return the rows to train and to test on."""
    y = np.asarray(y)
    parts = draw_test_split(Split(np.arange(len(y), dtype=np.float64)[:, None], y), "set", fraction, seed, draw)
    for part in parts:
        rows = part.x[:, 0].astype(int)
        np.testing.assert_array_equal(part.y, y[rows])
        assert (np.diff(rows) > 0).all()  # the order of the file
    train, test = (part.x[:, 0].astype(int) for part in parts)
    assert sorted([*train, *test]) == list(range(len(y)))
    return train, test


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=12),
    fraction=st.floats(0.02, 0.98),
    seed=st.integers(0, 2**32),
)
def test_each_class_gives_its_part(counts, fraction, seed):
    note(f"counts {counts}, fraction {fraction}, seed {seed}")
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    if max(counts) == 1:
        with pytest.raises(UserError, match="every sample is the only one of its class"):
            drawn(y, fraction, seed)
        return
    train, test = drawn(y, fraction, seed)
    num_test = min(max(1, round(len(y) * fraction)), len(y) - 1)
    to_test = np.bincount(y[test], minlength=len(counts))
    quota = np.array(counts) * num_test / len(y)
    assert np.bincount(y[train]).min() >= 1
    assert (to_test <= np.ceil(quota - 1e-9)).all()
    assert (to_test >= np.minimum(np.floor(quota + 1e-9), np.array(counts) - 1)).all()
    assert 1 <= len(test) <= num_test
    if (np.ceil(quota) < counts).all():
        assert len(test) == num_test


def test_the_same_seed_draws_the_same_and_another_does_not():
    y = np.arange(200) % 7
    np.testing.assert_array_equal(drawn(y, seed=3)[1], drawn(y, seed=3)[1])
    assert not np.array_equal(drawn(y, seed=3)[1], drawn(y, seed=4)[1])


def test_samples_of_a_class_are_drawn_alike():
    """Over many seeds each sample of a class is tested on equally often."""
    y = np.array([0] * 10 + [1] * 5)
    times = np.zeros(15)
    for seed in range(2000):
        times[drawn(y, seed=seed)[1]] += 1
    np.testing.assert_allclose(times / 2000, 0.2, atol=0.04)


def test_few_of_many_classes():
    """With less than one sample a class, the classes that give one depend on the seed."""
    y = np.repeat(np.arange(30), 3)
    first, second = (y[drawn(y, 0.1, seed)[1]] for seed in (1, 2))
    assert len(set(first)) == len(set(second)) == 9
    assert set(first) != set(second)


@pytest.mark.parametrize("y", [np.arange(50) % 3, np.linspace(0, 1, 50)[:, None]], ids=["classes", "numbers"])
def test_random_is_what_it_was(y):
    """The draw of earlier versions, for runs that are evaluated or resumed; numbers are always drawn so."""
    order = random_order(50, 6, SPLIT)
    for draw in ("random", "stratified") if y.ndim == 2 else ("random",):
        train, test = drawn(y, 0.3, 6, draw)
        np.testing.assert_array_equal(test, np.sort(order[:15]))
        np.testing.assert_array_equal(train, np.sort(order[15:]))


def test_a_single_sample():
    with pytest.raises(UserError, match="1 sample cannot be split"):
        drawn(np.array([0]))


def test_rare_classes_are_named():
    names = ("a", "b", "c", "d", "e", "f")
    train, test = np.repeat(np.arange(6), (50, 9, 1, 50, 3, 4)), np.repeat(np.arange(6), (5, 2, 0, 0, 1, 1))
    assert note_rare_classes(train, test, names, "set") == (
        "set: 5 of 6 classes are rare, so that scores say little about them: 'c' (1 training, 0 test samples), "
        "'e' (3 training, 1 test samples), 'f' (4 training, 1 test samples) and 2 more",
    )
    assert note_rare_classes(train[train < 2], test[test < 2], names[:2], "set") == (
        "set: 1 of 2 classes is rare, so that scores say little about it: 'b' (9 training, 2 test samples)",
    )
    assert note_rare_classes(np.repeat([0, 1], 10), np.arange(2), names[:2], "set") == ()
