import numpy as np
import pytest

from mpitrain.data.samples import make_dataset
from mpitrain.errors import UserError

X = np.arange(60.0).reshape(20, 3)
Y = np.arange(20) % 2


class Named:
    """Samples whose labels are places in two class names."""

    class_names = ("no", "yes")

    def __init__(self, y):
        self.y = y

    def __len__(self):
        return len(self.y)

    def take(self, indices):
        return X[indices], self.y[indices]


@pytest.mark.parametrize("y", [Y, Y == 1, Y.astype(float)])
def test_labels_are_places_in_class_names(y):
    data = make_dataset(Named(y), task="classification")
    assert data.class_names == ("no", "yes")
    assert sorted([*data.train.y, *data.test.y]) == sorted(np.asarray(y).astype(int))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y + 1, "expected labels from 0 to 1, one per class name, found 2"),
        (2 * Y - 1, "expected labels from 0 to 1, one per class name, found -1"),
        (np.array(["a", "b"])[Y], "class names are for labels that are integers from 0 on, not <U1"),
    ],
)
def test_labels_without_a_class_name(y, message):
    with pytest.raises(UserError, match=message):
        make_dataset(Named(y))


def test_arrays_and_an_object_hold_the_same():
    by_arrays, by_object = make_dataset((X, Y)), make_dataset(Named(Y))
    for name, split in by_arrays.splits.items():
        np.testing.assert_array_equal(split.x, by_object.splits[name].x)
        np.testing.assert_array_equal(split.y, by_object.splits[name].y)
    assert sorted([*by_arrays.train.x[:, 0], *by_arrays.test.x[:, 0]]) == X[:, 0].tolist()
    with pytest.raises(UserError, match="the data has no samples"):
        make_dataset((X[:0], Y[:0]))


@pytest.mark.parametrize("num_targets", [15, 25])
def test_arrays_of_different_lengths(num_targets):
    with pytest.raises(UserError, match=f"the data: 20 samples, but targets for {num_targets}"):
        make_dataset((X, np.arange(num_targets) % 2))
    with pytest.raises(UserError, match=f"the test samples: 20 samples, but targets for {num_targets}"):
        make_dataset(((X, Y), (X, np.arange(num_targets) % 2)))
