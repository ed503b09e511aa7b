import numpy as np
import pytest

from mpitrain.data import open_dataset, open_features
from mpitrain.data.npz import read_member
from mpitrain.errors import UserError

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
TABLE = RNG.standard_normal((20, 5))
LABELS = np.arange(20) % 3


@pytest.fixture
def path(tmp_path):
    return tmp_path / "set.npz"


def test_own_splits(path):
    np.savez(path, x_train=IMAGES[:15], y_train=LABELS[:15], x_test=IMAGES[15:], y_test=LABELS[15:])
    data = open_dataset(f"npz:{path}")
    np.testing.assert_array_equal(data.train.x, IMAGES[:15])
    np.testing.assert_array_equal(data.test.y, LABELS[15:])
    assert (data.name, data.task, data.class_names) == ("set", "classification", ("0", "1", "2"))
    assert data.notes[0].endswith("classification, since the targets are integers")


def test_a_test_split_is_drawn(path):
    np.savez_compressed(path, x=TABLE, y=TABLE[:, 0])
    data = open_dataset(f"npz:{path}", test_fraction=0.25, seed=3)
    assert (data.task, data.num_outputs, len(data.train), len(data.test)) == ("regression", 1, 15, 5)
    assert data.train.x.dtype == data.train.y.dtype == np.float32
    rows = np.concatenate([data.train.x, data.test.x])
    assert sorted(rows[:, 0]) == sorted(TABLE[:, 0].astype(np.float32))
    np.testing.assert_array_equal(data.train.x[:, 0], data.train.y[:, 0])
    again, other = (open_dataset(f"npz:{path}", test_fraction=0.25, seed=seed) for seed in (3, 4))
    np.testing.assert_array_equal(data.test.x, again.test.x)
    assert not np.array_equal(data.test.x, other.test.x)


@pytest.mark.parametrize(
    ("y", "task", "expected", "names"),
    [
        (LABELS * 2 + 5, None, LABELS, ("5", "7", "9")),
        (np.array(list("abc"))[LABELS], None, LABELS, ("a", "b", "c")),
        (np.array(["ä", "b", "c"])[LABELS], None, (LABELS + 2) % 3, ("b", "c", "ä")),
        (np.array([b"a", b"b", b"\xff"])[LABELS], None, LABELS, ("a", "b", "\ufffd")),
        (LABELS[:, None].astype(float), "classification", LABELS, ("0", "1", "2")),
        (LABELS == 1, None, LABELS == 1, ("False", "True")),
        (LABELS, "regression", LABELS[:, None], ()),
    ],
)
def test_targets(path, y, task, expected, names):
    np.savez(path, x_train=TABLE, y_train=y, x_test=TABLE, y_test=y)
    data = open_dataset(f"npz:{path}", task=task)
    assert data.class_names == names
    assert data.num_outputs == (len(names) or 1)
    np.testing.assert_array_equal(data.train.y, expected)
    np.testing.assert_array_equal(data.test.y, expected)
    assert data.train.y.dtype == (np.int64 if names else np.float32)


def test_several_targets_and_grey_images(path):
    np.savez(path, x=IMAGES[..., 0], y=TABLE[:, :2])
    data = open_dataset(f"npz:{path}")
    assert (data.task, data.num_outputs, data.input_shape) == ("regression", 2, (4, 4, 1))


def test_stored_bytes_are_mapped(path):
    np.savez(path, x=IMAGES, y=TABLE, f=np.asfortranarray(IMAGES))
    assert isinstance(read_member(path, "x"), np.memmap)
    np.testing.assert_array_equal(read_member(path, "x"), IMAGES)
    np.testing.assert_array_equal(read_member(path, "y"), TABLE)
    np.testing.assert_array_equal(read_member(path, "f"), IMAGES)
    np.savez_compressed(path, x=IMAGES)
    assert not isinstance(read_member(path, "x"), np.memmap)


WITH_NAN = np.where(np.arange(100).reshape(20, 5) == 13, np.nan, TABLE)


@pytest.mark.parametrize(
    ("arrays", "task", "message"),
    [
        ({"a": TABLE}, None, "set.npz holds a, expected arrays named x and y, or x_train"),
        ({"x": TABLE, "y": LABELS[:19]}, None, "20 samples, but targets for 19"),
        ({"x": TABLE, "y": np.array(3)}, None, "the targets are a single value"),
        ({"x": TABLE[:0], "y": LABELS[:0]}, None, "there is nothing in them"),
        ({"x": TABLE[:1], "y": LABELS[:1]}, "regression", "1 sample cannot be split"),
        ({"x": WITH_NAN, "y": LABELS}, None, "samples hold NaN, Inf .* first in row 2"),
        ({"x": TABLE * 1e39, "y": LABELS}, None, "more than float32 can hold"),
        ({"x": TABLE, "y": WITH_NAN[:, 3]}, None, "targets hold NaN"),
        ({"x": TABLE, "y": WITH_NAN[:, 3]}, "classification", "text or integers"),
        ({"x": TABLE, "y": np.full(20, np.inf)}, "classification", "row 0 has inf"),
        ({"x": TABLE[:, 0], "y": LABELS}, None, r"shape \(20,\), expected \(N, F\)"),
        ({"x": TABLE.astype(complex), "y": LABELS}, None, "type complex128, expected numbers"),
        ({"x": TABLE.astype(str), "y": LABELS}, None, "expected numbers"),
        ({"x": TABLE.astype(object), "y": LABELS}, None, "Object arrays cannot be loaded"),
        ({"x": TABLE, "y": LABELS * 0}, None, "all samples are of the class '0'"),
        ({"x": TABLE, "y": LABELS.astype(str)}, "regression", "targets are of type <U21, expected numbers"),
        ({"x": TABLE, "y": TABLE}, "classification", r"labels have the shape \(20, 5\)"),
        (
            {"x_train": TABLE, "y_train": LABELS, "x_test": TABLE[:, 1:], "y_test": LABELS},
            None,
            r"different shapes, \(5,\) and \(4,\)",
        ),
        (
            {"x_train": TABLE, "y_train": LABELS, "x_test": TABLE, "y_test": LABELS + 1},
            None,
            "the class '3' is in the test split, but not in the training one",
        ),
    ],
)
def test_unfit_arrays(path, arrays, task, message):
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=message):
        open_dataset(f"npz:{path}", task=task)


def test_features(path):
    np.savez(path, x=TABLE)
    features = open_features(f"npz:{path}")
    np.testing.assert_array_equal(features.x, TABLE.astype(np.float32))
    assert features.split.y.shape == (20, 0)
    np.savez(path, z=TABLE)
    with pytest.raises(UserError, match="holds z, expected an array named x"):
        open_features(f"npz:{path}")
