import numpy as np
import pytest

from mpitrain.data import open_dataset, open_features
from mpitrain.errors import UserError

HOUSES = "rooms,area,price\n" + "".join(f"{k},{10 * k + 0.5},{1000 * k}\n" for k in range(1, 11))
IRIS = "length;width;kind\n" + "".join(f"{k};{k / 4};{'abc'[k % 3]}\n" for k in range(12))


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="table.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
        return path

    return write_file


def test_regression(write):
    data = open_dataset(f"csv:{write(HOUSES)},target=price")
    assert (data.name, data.task, data.num_outputs) == ("table", "regression", 1)
    assert (data.feature_names, data.target_name) == (("rooms", "area"), "price")
    assert (len(data.train), len(data.test)) == (8, 2)
    np.testing.assert_array_equal(data.train.y[:, 0], 1000 * data.train.x[:, 0])
    np.testing.assert_array_equal(data.train.x[:, 1], 10 * data.train.x[:, 0] + 0.5)
    assert "regression" in data.notes[0]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators(write, mark, encoding, end):
    path = write(IRIS.replace(";", mark).replace("\n", end) + end, encoding=encoding)
    data = open_dataset(f"csv:{path},target=kind")
    assert (data.task, data.class_names) == ("classification", ("a", "b", "c"))
    assert data.feature_names == ("length", "width")
    np.testing.assert_array_equal(data.train.y, data.train.x[:, 0] % 3)


def test_a_quoted_separator_is_text(write):
    path = write('"a, b";"c, d"\n1;2\n3;4\n')
    assert open_features(f"csv:{path}").feature_names == ("a, b", "c, d")


@pytest.mark.parametrize(
    ("labels", "task", "expected", "names"),
    [
        ("1 2 1 2 1 2", None, "classification", ("1", "2")),
        ("1 2 3 4 5 6", None, "regression", ()),
        ("1 2 3 3 4 5", "classification", "classification", ("1", "2", "3", "4", "5")),
        ("1 2 1 2 1 2", "regression", "regression", ()),
        ("1.5 2 1.5 2 1.5 2", None, "regression", ()),
        ("10 9 10.0 9.0 10 9", None, "classification", ("9", "10")),
        ("a 9 a 9 a 9", None, "classification", ("9", "a")),
    ],
)
def test_task(write, labels, task, expected, names):
    path = write("x,y\n" + "".join(f"{k},{label}\n" for k, label in enumerate(labels.split())))
    data = open_dataset(f"csv:{path},target=y", task=task)
    assert (data.task, data.class_names) == (expected, names)
    assert any(f": {expected}" in note for note in data.notes) == (task is None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "table.csv is empty, expected a header"),
        ("a,y\n", "has a header, but no rows"),
        ("1,2\n3,4\n", "has no header"),
        ("a,,y\n1,2,3\n", "column 2 has no name"),
        ("a,a,y\n1,2,3\n", "names 'a' twice"),
        ("a,y\n1,2\n3\n", "line 3 has 1 cells, but the header 2"),
        ("a,b\n1,2\n3,4\n", "has no column 'y'; its columns are 'a', 'b'"),
        ("y\n1\n2\n", "no column but the target"),
        ("a,y\n1,2\n,3\n?,NA\n", "table.csv: 1 missing value, the first in column 'y' on line 4"),
        ("b,y\nnan,2\n?,3\n,3\n", "no column is left to learn from: .*'b': it has no value in the training rows"),
        ("b,y\nu,2\nv,3\nw,3\n", "no column is left to learn from: .*'b': no category of it is in 2 training rows"),
        ("a,b,c,y\n1,$1,$2,2\n1,$3,$4,3\n", "columns 'b', 'c' hold text .first '.1' on line 2., expected numbers"),
        ("a,y\n1,2\n-inf,3\n", "column 'a' holds -inf on line 3"),
        ("a,y\n1,2\n1,inf\n", "column 'y' holds inf on line 3"),
        (b"a,y\n\xff\xfe\n", r"line 2 is not UTF-8 text .byte 0xff.: say how .* encoding=cp1252"),
        (b"a,y\n1,2\n3,\0\n", r"line 3 holds a NUL byte: this is no text, or text in UTF-16 .encoding=utf-16-le."),
        ('a,y\n"' + "1" * 200_000 + '",2\n', "column 'a' holds 1111+[.]{3} on line 2, expected a number"),
        ('a,y\n1,2\n"3,4\n5,6\n', "a quote that is opened on line 3 or later is never closed"),
        ("a,b,y\n1,2,2\n1,3,3\n1,y,4\n", "column 'b' holds numbers, but also 'y' on line 4: mend these cells"),
    ],
)
def test_unfit_tables(write, text, message):
    with pytest.raises(UserError, match=message):
        open_dataset(f"csv:{write(text)},target=y")


@pytest.mark.parametrize(
    ("labels", "task", "message"),
    [
        ("ab", "regression", "column 'y' holds text .first 'a' on line 2."),
        (["1", "0.37"], "classification", "has 0.37 on line 3, but classes are text or integers"),
    ],
)
def test_task_that_does_not_fit(write, labels, task, message):
    path = write("x,y\n" + "".join(f"0,{label}\n" for label in labels))
    with pytest.raises(UserError, match=message):
        open_dataset(f"csv:{path},target=y", task=task)


def test_the_target_must_be_named(write):
    path = write(HOUSES)
    with pytest.raises(UserError, match=r"say which column .* there are rooms, area, price"):
        open_dataset(f"csv:{path}")
    with pytest.raises(UserError, match=r"has no column 'prise' \(did you mean 'price'\?\)"):
        open_dataset(f"csv:{path},target=prise")


def test_features_by_name(write):
    path = write("kind,area,note,rooms\n?,1.5,hello,2\n?,2.5,you,3\n")
    features = open_features(f"csv:{path}", feature_names=("rooms", "area"))
    assert features.feature_names == ("rooms", "area")
    np.testing.assert_array_equal(features.x, np.float32([[2, 1.5], [3, 2.5]]))
    with pytest.raises(UserError, match="has no column 'doors'"):
        open_features(f"csv:{path}", feature_names=("rooms", "doors"))


def test_features_without_the_target(write):
    path = write(HOUSES)
    assert open_features(f"csv:{path}").x.shape == (10, 3)
    assert open_features(f"csv:{path},target=price").feature_names == ("rooms", "area")
