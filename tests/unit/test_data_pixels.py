"""Classes of pixels: numbering, pixels without a label, the choice of the task, and mistakes in files."""

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.data.dataset import UNLABELED
from mpitrain.data.matching.conform import conform
from mpitrain.data.matching.rows import open_rows
from mpitrain.data.matching.signature import Signature
from mpitrain.data.pixels import classes_of_images, count_pixels
from mpitrain.data.report import describe_dataset
from mpitrain.data.validation import with_validation
from mpitrain.errors import UserError

RNG = np.random.default_rng(3)
X = RNG.integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
Y = RNG.integers(0, 3, (30, 6, 5))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "set.npz"


def opened(path, y, x=X, task=None):
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    return open_dataset(f"npz:{path}", task=task)


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (Y, ("0", "1", "2")),
        (Y.astype(np.uint8), ("0", "1", "2")),
        (Y[..., None], ("0", "1", "2")),
        (Y.astype(float) * 2, ("0", "2", "4")),
        (Y * 100_000 + 7, ("7", "100007", "200007")),
        ((Y == 1) * np.uint8(255), ("0", "255")),
        (Y == 1, ("0", "1")),
        (np.array([0, 128, 255], np.uint8)[Y], ("0", "128", "255")),
        (np.array([0, 1, 255], np.int64)[Y], ("0", "1", "255")),
    ],
)
def test_numbers_in_ascending_order(path, y, names):
    data = opened(path, y)
    assert (data.task, data.class_names, data.num_outputs) == ("segmentation", names, len(names))
    assert data.train.y.dtype == np.int8
    flat = y.reshape(Y.shape)
    np.testing.assert_array_equal(data.train.y, np.searchsorted(np.unique(flat), flat))
    assert "segmentation, since the targets are classes of pixels" in data.notes[0]


@pytest.mark.parametrize("marks", [(-1,), (-100,), (-1, -100), (255,)])
def test_pixels_without_a_label(path, marks):
    y = Y.astype(np.uint8 if marks == (255,) else np.int32)
    for k, mark in enumerate(marks):
        y[k::7, k] = mark
    data = opened(path, y)
    lost = np.isin(y, marks)
    assert data.class_names == ("0", "1", "2")
    np.testing.assert_array_equal(data.train.y, np.where(lost, UNLABELED, Y))
    assert f"no label ({' and '.join(map(str, sorted(marks)))})" in data.notes[1]
    assert count_pixels(data.train.y, 3).tolist() == np.bincount(Y[~lost], minlength=3).tolist()
    assert any("pixels without a label" in line for line in describe_dataset(data))


def test_gray_images_and_many_classes(path):
    y = RNG.integers(0, 200, Y.shape)
    data = opened(path, y, X[..., 0])
    assert data.input_shape == (6, 5, 1)
    assert data.train.y.dtype == np.int16
    np.testing.assert_array_equal(data.train.y, np.searchsorted(np.unique(y), y))


def test_splits_are_drawn_and_classes_that_are_rare_are_noted(path):
    y = np.where((np.arange(30) < 3)[:, None, None], Y, Y % 2)
    np.savez(path, x=X, y=y)
    data = with_validation(open_dataset(f"npz:{path}"), 0.25, seed=0)
    assert {name: split.y.shape for name, split in data.splits.items()} == {
        "train": (18, 6, 5), "validation": (6, 6, 5), "test": (6, 6, 5)
    }  # fmt: skip
    assert any("1 of 3 classes is rare" in note and "'2' (" in note for note in data.notes)
    assert classes_of_images(y[:1]).tolist() == np.unique(y[0]).tolist()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y[:, :5], r"targets of 5x5 pixels for images of 6x5: each pixel needs a class"),
        (Y.transpose(0, 2, 1), "targets of 5x6 pixels for images of 6x5"),
        (Y - 3, "a pixel has the class -3: classes are integers from 0 on, and only -1 and -100 mark"),
        (Y + 0.5, r"classes of pixels are integers, but image 0 has \d.5 in row 0, column 0"),
        (np.where(Y == 1, np.nan, Y), r"classes of pixels are integers, but image \d has nan in row"),
        (np.eye(3)[Y], r"expected one class for each pixel, \(N, H, W\): if they are one-hot, save y.argmax\(-1\)"),
        (np.zeros_like(Y), "all pixels are of the class 0, so there is nothing to learn"),
        (np.full_like(Y, -1), "no pixel has a label"),
        (np.array(list("abc"))[Y], "the classes of pixels are of type <U1, expected integers"),
        (Y[:20], "30 samples, but targets for 20"),
    ],
)
def test_targets_that_do_not_fit(path, y, message):
    with pytest.raises(UserError, match=message):
        opened(path, y)


def test_integers_that_may_be_amounts(path):
    y = np.arange(Y.size).reshape(Y.shape) % 300
    with pytest.raises(UserError, match=r"300 distinct integers, which may be amounts .*--task segmentation"):
        opened(path, y)
    assert opened(path, y, task="segmentation").num_outputs == 300


@pytest.mark.parametrize(
    ("x", "y", "task", "message"),
    [
        (X, Y[:, 0, 0], "segmentation", r"the targets have the shape \(30,\), but segmentation needs \(N, H, W\)"),
        (X, Y, "classification", r"the class labels have the shape \(30, 6, 5\), expected \(N,\)"),
        (X, Y, "regression", r"the targets have the shape \(30, 6, 5\), expected \(N,\) or \(N, K\)"),
        (X.reshape(30, -1), Y, None, r"but the samples, \(30, 90\), are no images"),
        (np.full(X.shape, np.nan), Y, None, "NaN"),
    ],
)
def test_samples_and_tasks_that_do_not_fit(path, x, y, task, message):
    with pytest.raises(UserError, match=message):
        opened(path, y, x, task)


def test_a_table_has_no_pixels(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,0\n2,1\n3,0\n4,1\n")
    with pytest.raises(UserError, match="is a table: the task segmentation is for images"):
        open_dataset(f"csv:{tmp_path}/t.csv,target=b", task="segmentation")


def test_a_class_of_the_test_split_only(path):
    np.savez(path, x_train=X, y_train=Y % 2, x_test=X, y_test=Y)
    with pytest.raises(UserError, match="test split: the class 2 is in no training image"):
        open_dataset(f"npz:{path}")


def test_other_files_get_the_numbers_of_the_model(path):
    signature = Signature.of(opened(path, Y * 10))
    some = np.where(Y == 0, 255, Y * 10).astype(np.uint8)  # without the class 0
    np.savez(path, x=X, y=some)
    rows = open_rows(f"npz:{path}", signature)
    np.testing.assert_array_equal(rows.parts[0].y, np.where(Y == 0, UNLABELED, Y))
    fewer = conform(opened(path, np.where(Y == 0, -1, Y * 10)), signature, "set")
    assert fewer.class_names == ("0", "10", "20")
    np.testing.assert_array_equal(fewer.test.y, rows.parts[0].y)
    np.savez(path, x=X, y=Y * 10 + 1)
    with pytest.raises(UserError, match=r"classes that the model does not know: '1' \(of \d+ pixels\)"):
        open_rows(f"npz:{path}", signature)
