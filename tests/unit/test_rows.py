"""Rows of any file for a trained model: all of them, by name, numbered as in training."""

import dataclasses

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.data.matching.rows import open_rows, open_samples, split_of
from mpitrain.data.matching.signature import Signature
from mpitrain.data.sources import absolute_source, find_source
from mpitrain.errors import UserError

CLASSES = Signature("classification", (2,), 2, ("n", "p"), ("a", "b"), "y")
NUMBERS = dataclasses.replace(CLASSES, task="regression", num_outputs=1, class_names=())


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="f.csv"):
        (tmp_path / name).write_text(text)
        return f"csv:{name}"

    return write


def values(rows):
    (part,) = rows.parts
    return part.x.tolist(), part.y.tolist()


@pytest.mark.parametrize(
    ("text", "x", "y"),
    [
        ("a,b,y\n1,2,n\n3,4,p\n", [[1, 2], [3, 4]], [0, 1]),
        ("y,b,a\np,2,1\n", [[1, 2]], [1]),  # one row, one class, another order
        ("b,y,a\n2,p,1\n4,p,3\n6,p,5\n", [[1, 2], [3, 4], [5, 6]], [1, 1, 1]),
    ],
)
def test_every_row_of_a_table(write, text, x, y):
    for target in ("", ",target=y"):
        rows = open_rows(write(text) + target, CLASSES)
        assert values(rows) == (x, y)
        assert (rows.split, rows.total, len(rows), rows.notes) == ("all", len(y), len(y), ())
    assert rows.described == f"{len(y)} of {len(y)} sample{'s' * (len(y) > 1)} (whole file)"
    assert open_samples(write(text), CLASSES).parts[0].x.tolist() == x


def test_numbers_are_targets_as_they_are(write):
    assert values(open_rows(write("b,y,a\n2,-7.5,1\n"), NUMBERS)) == ([[1, 2]], [[-7.5]])


def test_other_columns_are_noted(write):
    source = write("id,a,b,y,when\n1,2,3,n,4\n")
    expected = ("f.csv: columns 'id', 'when' are not among the model's, and ignored",)
    assert open_rows(source, CLASSES).notes == expected
    assert open_samples(source, CLASSES).notes == expected  # the target is known, and no column to ignore


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("a,c,y\n1,2,n\n", "", "f.csv lacks column 'b', which the model was trained on; it has columns 'a', 'c'"),
        ("A,b,y\n1,2,n\n", "", r"lacks column 'a', .* \(did you mean 'A'\?\)"),
        ("a,b\n1,2\n", "", "has no column 'y', which the model predicts: without it, rows can be predicted but not"),
        ("a,b,Y\n1,2,n\n", "", r"has no column 'y', which the model predicts \(did you mean 'Y'\?\)"),
        ("a,b,y,z\n1,2,n,n\n", ",target=z", "the model predicts 'y', but the target of f.csv is 'z'"),
        (
            "a,b,y\n1,2,n\n3,4,m\n5,6,m\n7,8,o\n",
            "",
            r"does not know: 'm' \(line 3\), 'o' \(line 5\); it knows 'n', 'p'",
        ),
        ("a,b,y\n1,2,\n", "", "missing value"),
        ("a,b,y\n1,x,n\n", "", "column 'b' holds text"),
    ],
)
def test_what_cannot_be_scored(write, text, more, message):
    with pytest.raises(UserError, match=message):
        open_rows(write(text) + more, CLASSES)


def test_no_split_is_drawn_of_a_file(write):
    for split in ("test", "train"):
        with pytest.raises(UserError, match=f"csv:f.csv has no {split} split of its own"):
            open_rows(write("a,b,y\n1,2,n\n"), CLASSES, split)


def test_archives(tmp_path):
    x, y = np.arange(8.0).reshape(4, 2), np.array(["p", "p", "p", "p"])
    np.savez(tmp_path / "all.npz", x=x, y=y)
    rows = open_rows(f"npz:{tmp_path / 'all.npz'}", CLASSES)
    assert values(rows) == (x.tolist(), [1, 1, 1, 1])
    assert rows.notes == (f"{tmp_path / 'all.npz'} has no column names: its columns are taken in order as 'a', 'b'",)
    two = np.array(["n", "p", "n", "p"])
    np.savez(tmp_path / "two.npz", x_train=x, y_train=two, x_test=x[:2] + 10, y_test=two[:2])
    source = f"npz:{tmp_path / 'two.npz'}"
    rows = open_rows(source, CLASSES)
    assert (rows.split, len(rows), rows.total) == ("test", 2, 6)
    assert rows.described == "2 of 6 samples (test split)"
    assert len(open_rows(source, CLASSES, "train")) == 4
    rows = open_rows(source, CLASSES, "all")
    assert [len(part) for part in rows.parts] == [4, 2]
    assert [part.y.tolist() for part in rows.parts] == [[0, 1, 0, 1], [0, 1]]
    np.savez(tmp_path / "wide.npz", x=np.zeros((3, 5)), y=two[:3])
    with pytest.raises(UserError, match=r"have the shape \(5,\), but the model was trained on \(2,\)"):
        open_rows(f"npz:{tmp_path / 'wide.npz'}", CLASSES)
    integers = dataclasses.replace(CLASSES, class_names=("0", "3"), feature_names=())
    np.savez(tmp_path / "ints.npz", x=x, y=np.array([3, 3, 0, 3], np.uint8))
    assert values(open_rows(f"npz:{tmp_path / 'ints.npz'}", integers))[1] == [1, 1, 0, 1]
    np.savez(tmp_path / "ints.npz", x=x, y=np.array([3, 3, 1, 3]))
    with pytest.raises(UserError, match=r"does not know: '1' \(row 2\)"):
        open_rows(f"npz:{tmp_path / 'ints.npz'}", integers)


def test_a_set_with_a_test_split():
    digits = open_dataset("digits")
    rows = open_rows("digits", Signature.of(digits))
    np.testing.assert_array_equal(rows.parts[0].x, digits.test.x)
    assert rows.described == "360 of 1,797 samples (test split)"
    assert len(split_of(digits, "all")) == 1797
    assert open_samples("digits", Signature.of(digits)).described == "360 of 1,797 samples (test split)"


def test_where_a_source_is(write, tmp_path, monkeypatch):
    source = write("a,b,y\n1,2,n\n") + ",target=y"
    absolute = absolute_source(source)
    assert absolute == f"csv:{tmp_path}/f.csv,target=y"
    assert absolute_source(absolute) == absolute
    assert find_source(source, absolute) == absolute
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert find_source(source, absolute) == absolute
    monkeypatch.chdir(tmp_path)
    assert find_source(source, "csv:/none/f.csv,target=y") == source  # both have moved
    with pytest.raises(UserError, match=r"there is neither /none/g.csv nor /.*/g.csv: say where the data are"):
        find_source("csv:g.csv,target=y", "csv:/none/g.csv,target=y")
    assert find_source("digits", "digits") == find_source("digits", "") == "digits"
    assert absolute_source("openml:iris") == "openml:iris"
    assert absolute_source("mnist:sets") == f"mnist:{tmp_path}/sets"
