"""Class labels and other targets, read from npz archives: numbering, names and the choice of the task."""

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.errors import UserError
from tests.small_arrays import LABELS, TABLE


@pytest.fixture
def path(tmp_path):
    return tmp_path / "set.npz"


@pytest.mark.parametrize(
    ("y", "task", "expected", "names"),
    [
        (LABELS * 2 + 5, None, LABELS, ("5", "7", "9")),
        (np.array(list("abc"))[LABELS], None, LABELS, ("a", "b", "c")),
        (np.array(["ä", "b", "c"])[LABELS], None, (LABELS + 2) % 3, ("b", "c", "ä")),
        (np.array([b"a", b"\xfe", b"\xff"])[LABELS], None, LABELS, ("a", "\\xfe", "\\xff")),
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


def test_one_hot_targets_of_a_regression(path):
    np.savez(path, x=TABLE, y=np.eye(3)[LABELS])
    assert open_dataset(f"npz:{path}", task="regression").num_outputs == 3
    np.savez(path, x=TABLE, y=np.eye(3)[LABELS] * 0.5)
    assert open_dataset(f"npz:{path}").task == "regression"


def test_mostly_distinct_integers_may_be_amounts(path):
    x, y = np.arange(60.0)[:, None], np.arange(60)
    np.savez(path, x=x, y=y)
    with pytest.raises(UserError, match=r"60 distinct integers in 60 samples, .* say --task regression or --task c"):
        open_dataset(f"npz:{path}")
    assert open_dataset(f"npz:{path}", task="regression").num_outputs == 1
    np.savez(path, x=x, y=y // 3)
    assert open_dataset(f"npz:{path}").num_outputs == 20


def labels_of(path, y):
    """Return the name of each sample's class."""
    np.savez(path, x_train=np.zeros((len(y), 1)), y_train=y, x_test=np.zeros((len(y), 1)), y_test=y)
    data = open_dataset(f"npz:{path}", task="classification")
    return [data.class_names[k] for k in data.train.y]


@pytest.mark.parametrize(
    "y",
    [
        np.array([2**53, 2**53 + 1, 2**63 - 1, -(2**63)]),
        np.array([2**64 - 1, 2**64 - 2, 0], np.uint64),
        np.array(["007", "7", "07"]),
        np.array(["12345678901234567890", "12345678901234567891"]),
        np.array(["007", "7", "ä"], object),
        np.array([2**53, 2**53 + 1, 5], object),
        np.array([2**64, 2**64 + 1, 10**20], object),
        np.array([np.uint64(2**64 - 1), np.int64(7)], object),
        np.array([np.str_("b"), "a"], object),
    ],
)
def test_labels_never_pass_through_floats(path, y):
    assert labels_of(path, y) == [str(label) for label in y]


@pytest.mark.parametrize("dtype", ["S", object])
def test_labels_of_bytes_stay_distinct(path, dtype):
    y = np.array([b"\xff", b"\xfe", "ä".encode(), "ä".encode("latin1"), b"\xc3\xa4\xff"], dtype)
    assert labels_of(path, y) == ["\\xff", "\\xfe", "ä", "\\xe4", "ä\\xff"]
    y = np.array([b"\xff", b"\\xff"], dtype)
    with pytest.raises(UserError, match="two labels of bytes are both written"):
        labels_of(path, y)


def test_integers_without_a_common_type(path):
    train = np.array([-1, 2**62, 2**62 + 1])
    np.savez(path, x_train=TABLE[:3], y_train=train, x_test=TABLE[:1], y_test=np.array([2**62 + 1], np.uint64))
    data = open_dataset(f"npz:{path}")
    assert [data.class_names[k] for k in (*data.train.y, *data.test.y)] == [str(v) for v in (*train, train[2])]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", 1], r"of different types, str \('a'\) and int \(1 in row 1\): np.array\(labels, dtype=str\)"),
        (["a", None], "str .* and NoneType .None in row 1"),
        (["a", float("nan")], "str .* and float .nan in row 1"),
        ([1.5, 2**60], "y holds fractions and integers above 2..53, such as 1152921504606846976"),
        (["a\0", "a"], "end.* in a zero character"),
        ([[1], [2, 3]], "of different types, list"),
        ([np.arange(2), np.arange(3)], "y holds Python objects that are not text or numbers .an array of type i8"),
        ([print, print], "not text or numbers .*print.*dtype=str"),
    ],
)
def test_objects_that_are_refused(path, capfd, values, message):
    y = np.empty(len(values), object)
    y[:] = values
    np.savez(path, x=np.zeros((len(y), 1)), y=y)
    with pytest.raises(UserError, match=message):
        open_dataset(f"npz:{path}")
