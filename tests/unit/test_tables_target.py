"""Classes or numbers: nothing becomes a class silently, and no label loses a digit."""

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.errors import UserError

READINGS = ["-1.2", "0.4", "0.9", "-0.3", "1.5", "-0.8", "0.1", "2.0", "-1.7", "0.6"]


@pytest.fixture
def table(tmp_path):
    """Return a function that writes a target column beside a feature and returns the source."""

    def write(cells, name="y", options="", encoding="utf-8"):
        rows = [f"{READINGS[k % 10]},{cell}" for k, cell in enumerate(cells)]
        path = tmp_path / "table.csv"
        path.write_bytes("\n".join([f"a,{name}", *rows, ""]).encode(encoding))
        return f"csv:{path},target={name}{options}"

    return write


def labels(data):
    """Return the class name of every sample in the order of the file, which the feature tells."""
    x = np.concatenate([data.train.x[:, 0], data.test.x[:, 0]])
    y = np.concatenate([data.train.y, data.test.y])
    by_reading = {round(float(v), 3): data.class_names[k] for v, k in zip(x, y)}
    return [by_reading[float(reading)] for reading in READINGS[: len(x)]]


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["9007199254740992", "9007199254740993", "5"], ("5", "9007199254740992", "9007199254740993")),
        (["0123", "123", "99"], ("99", "0123", "123")),
        (["10000000000000000000001", "10000000000000000000002", "7"],
         ("7", "10000000000000000000001", "10000000000000000000002")),
        (["10", "9", "10"], ("9", "10")),
        (["-1", "1", "-1"], ("-1", "1")),
        (["b", "a", "B"], ("B", "a", "b")),
        (["True", "False", "True"], ("False", "True")),
        (["2020_01", "2020_02", "2020_01"], ("2020_01", "2020_02")),
        (["\u0661", "\u0662", "\u0661"], ("\u0661", "\u0662")),
        (["v1.0", "v1.10", "v1.0"], ("v1.0", "v1.10")),
    ],
)  # fmt: skip
def test_labels_are_kept_exactly(table, cells, names):
    column = [cells[k % 3] for k in range(10)]
    data = open_dataset(table(column))
    assert (data.task, data.class_names) == ("classification", names)
    assert labels(data) == column


@pytest.mark.parametrize("task", [None, "classification"])
def test_integers_as_data_frames_write_them(table, task):
    data = open_dataset(table(["1.0", "0.0", "+1", "-0", "1e0"] * 2), task=task)
    assert data.class_names == ("0", "1")
    assert labels(data) == ["1", "0", "1", "0", "1"] * 2


def test_na_is_a_region(table):
    """inputs/region-NA.csv: North America, or Namibia."""
    cells = ["EU", "NA", "NA", "EU", "NA", "EU", "NA", "NA", "EU", "NA"]
    data = open_dataset(table(cells, "region"))
    assert data.class_names == ("EU", "NA")
    assert labels(data) == cells
    assert any("'NA' is a class like others (na=NA says that it is missing)" in note for note in data.notes)
    with pytest.raises(UserError, match=r"6 missing values, the first in column 'region' on line 3 .'NA'."):
        open_dataset(table(cells, "region", ",na=NA"))
    data = open_dataset(table(cells, "region", ",na=?"))
    assert not any("na=NA" in note for note in data.notes)


PRICES = ["883.0", "1041.0", "1092.0", "N/A", "1154.0", "922.0", "1013.0", "1201.0", "834.0", "1065.0"]


@pytest.mark.parametrize("word", ["N/A", "null", "None", "NULL", "NaN", "#N/A", "#DIV/0!", "#VALUE!", "-", ""])
def test_a_missing_price_makes_no_classes(table, word):
    """inputs/target-one-null.csv."""
    with pytest.raises(UserError, match=r"1 missing value, the first in column 'price' on line 5"):
        open_dataset(table([word if cell == "N/A" else cell for cell in PRICES], "price"))


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ("unknown", "target 'y' holds numbers, but also 'unknown' on line 5: mend these cells, or say"),
        ("True", "holds numbers, but also 'True' on line 5"),
        ("2020_01", "but also '2020_01' on line 5"),
        ("inf", "column 'y' holds inf on line 5, expected a number"),
        ("1e999", "column 'y' holds 1e999 on line 5, expected a number"),
        ('"1,041"', "but also '1,041' on line 5: thousands=comma reads it as 1041, or decimal=comma reads it as 1.041"),
        ("$1041", "but also '[$]1041' on line 5: strip=[$] reads it as 1041"),
    ],
)
def test_an_odd_cell_among_numbers_makes_no_classes(table, odd, message):
    with pytest.raises(UserError, match=message) as error:
        open_dataset(table([odd if cell == "N/A" else cell for cell in PRICES]))
    assert "inf" in odd or "1e999" in odd or "--task classification takes every distinct cell" in str(error.value)


def test_many_odd_cells_are_counted(table):
    cells = [f"{k}.5" for k in range(60)] + [f"odd{k}" for k in range(9)]
    with pytest.raises(UserError, match=r"'odd0' on line 62, .*'odd4' on line 66 and 4 more: mend"):
        open_dataset(table(cells))
    data = open_dataset(table(cells[:2] * 5 + cells[60:61] * 2), task="classification")
    assert data.class_names == ("0.5", "1.5", "odd0")


def test_a_column_of_codes_and_integers_is_one_of_classes(table):
    assert open_dataset(table(["a", "9"] * 5)).class_names == ("9", "a")
    with pytest.raises(UserError, match="holds numbers, but also 'a' on line 2"):
        open_dataset(table(["a", "9.5", "b", "8.5"] * 3))


@pytest.mark.parametrize(
    ("cells", "option", "values"),
    [
        (['"1,234"', '"2,345"', '"999"'], "thousands=comma", [1234, 2345, 999]),
        (['"1.234,5"', '"2.345,5"', '"9,5"'], "decimal=comma,thousands=point", [1234.5, 2345.5, 9.5]),
        (["$5", "$6.5", "$1"], "strip=$", [5, 6.5, 1]),
        (["12%", "13%", "7%"], "strip=%", [12, 13, 7]),
        (['"1,5"', '"2,5"', '"3,25"'], "decimal=comma", [1.5, 2.5, 3.25]),
    ],
)
def test_other_notations_of_numbers(table, cells, option, values):
    column = [cells[k % 3] for k in range(10)]
    with pytest.raises(UserError, match="reads it as") as error:
        open_dataset(table(column))
    assert option in str(error.value)
    if "decimal" in option:
        return  # the other column would need it too
    data = open_dataset(table(column, options=f",{option}"), task="regression")
    y = np.concatenate([data.train.y, data.test.y])[:, 0]
    assert sorted(y.tolist()) == sorted(values[k % 3] for k in range(10))


def test_the_hint_fits_all_cells(table):
    with pytest.raises(UserError, match=r"on line 2: decimal=comma,thousands=point reads it as 883.5"):
        open_dataset(table(['"883,5"', '"1.041,5"', '"1.092,5"'] * 4))


def test_a_class_for_every_row(table):
    cells = [f"2020_{k:02}" for k in range(10)]
    data = open_dataset(table([*cells, *cells[:2]], "period"))
    assert any("target 'period' has 10 classes in 12 rows" in note for note in data.notes)
    with pytest.raises(UserError, match="every sample is the only one of its class"):
        open_dataset(table(cells, "period"))


def test_booleans(table):
    data = open_dataset(table(["True", "false"] * 5), task="regression")
    assert sorted(set(np.concatenate([data.train.y, data.test.y])[:, 0].tolist())) == [0, 1]
    data = open_dataset(table(["True", "False", "TRUE", "False", "False"] * 2))
    assert data.class_names == ("False", "TRUE", "True")
    assert any("the classes 'True' and 'TRUE' differ in case only" in note for note in data.notes)


def test_features_of_booleans(tmp_path):
    """inputs/bool-features.csv."""
    path = tmp_path / "table.csv"
    rows = ["-1.2,True,False,n", "0.4,False,True,p", "0.9,false,TRUE,p", "-0.3,True,False,n", "1.5,True,False,p"]
    path.write_text("\n".join(["a,b_x,b_y,y", *rows * 2, ""]))
    data = open_dataset(f"csv:{path},target=y")
    x = np.concatenate([data.train.x, data.test.x])
    np.testing.assert_array_equal(np.unique(x[x[:, 0] > 0.6], axis=0)[:, 1:], [[0, 1], [1, 0]])
    path.write_text("a,b,y\n1,True,p\n2,3,q\n3,4,p\n")
    with pytest.raises(UserError, match="column 'b' holds numbers, but also 'True' on line 2"):
        open_dataset(f"csv:{path},target=y")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8", "utf-8-sig"])
def test_labels_in_other_encodings(table, encoding):
    cells = ["é", "è", "e"] * 3 + ["e"]
    source = table(cells, encoding=encoding)
    if encoding in ("latin-1", "cp1252"):
        with pytest.raises(UserError, match=r"line 2 is not UTF-8 text .byte 0xe9.: say how it is encoded"):
            open_dataset(source)
    if encoding == "utf-16-le":
        with pytest.raises(UserError, match=r"line 1 holds a NUL byte: .*encoding=utf-16-le"):
            open_dataset(source)
    data = open_dataset(source + ("" if encoding in ("utf-8", "utf-8-sig", "utf-16") else f",encoding={encoding}"))
    assert data.class_names == ("e", "è", "é")
    assert labels(data) == cells


def test_the_wrong_encoding(table):
    with pytest.raises(UserError, match="line 2 is not ASCII text"):
        open_dataset(table(["é", "e"] * 5, options=",encoding=ascii"))
    with pytest.raises(UserError, match=r"line 2 is not CP1252 text .byte 0x81."):
        open_dataset(table(["Á", "e"] * 5, options=",encoding=cp1252"))


def test_one_hot_labels(tmp_path):
    path = tmp_path / "table.csv"
    rows = [f"{k},{int(k % 3 == 0)},{int(k % 3 == 1)},{int(k % 3 == 2)}" for k in range(12)]
    path.write_text("\n".join(["a,kind_x,kind_y,kind_z", *rows, ""]))
    data = open_dataset(f"csv:{path},target=kind_x,kind_y,kind_z")
    assert (data.task, data.class_names) == ("classification", ("kind_x", "kind_y", "kind_z"))
    assert (data.target_name, data.feature_names) == ("kind_x,kind_y,kind_z", ("a",))
    np.testing.assert_array_equal(data.train.y, data.train.x[:, 0] % 3)
    data = open_dataset(f"csv:{path},target=kind_x,kind_y")
    assert (data.task, data.num_outputs) == ("regression", 2)
    with pytest.raises(UserError, match="'kind_x', 'kind_y' are not one-hot labels: line 4 does not hold one 1"):
        open_dataset(f"csv:{path},target=kind_x,kind_y", task="classification")
    data = open_dataset(f"csv:{path},target=kind_y")
    warning = "'kind_x', 'kind_z' and the target are one-hot labels, and tell the target: target=kind_y,kind_x,kind_z"
    assert any(warning in note for note in data.notes)


def test_a_second_file_as_test_set(tmp_path):
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text("a,b,y\n" + "".join(f"{k},{-k},{'pq'[k % 2]}\n" for k in range(8)))
    test.write_text("y;more;b;a\n" + "".join(f"{'pq'[k % 2]};x;{-k};{k}\n" for k in range(5)))
    data = open_dataset(f"csv:{train},target=y,test={test}")
    assert (len(data.train), len(data.test), data.class_names) == (8, 5, ("p", "q"))
    np.testing.assert_array_equal(data.test.x, [[k, -k] for k in range(5)])
    np.testing.assert_array_equal(data.test.y, [0, 1, 0, 1, 0])
    test.write_text("y,b,a\nr,1,2\np,1,2\n")
    with pytest.raises(UserError, match="the class 'r' is in the test split, but not in the training one"):
        open_dataset(f"csv:{train},target=y,test={test}")
    test.write_text("y,a\np,1\n")
    with pytest.raises(UserError, match=r"test.csv has no column 'b'"):
        open_dataset(f"csv:{train},target=y,test={test}")


def test_order_of_ordinary_labels_is_that_of_earlier_versions(table):
    data = open_dataset(table([str(k) for k in (10, 9, 2, 1, 0)] * 4), task=None)
    assert data.class_names == ("0", "1", "2", "9", "10")


def test_many_classes_are_read_exactly(tmp_path):
    """Texts of so many distinct integers are not kept: the column is read again."""
    path = tmp_path / "table.csv"
    count = 6000
    path.write_text("a,y\n" + "".join(f"{k % count},{k % count + 10**17}\n" for k in range(2 * count)))
    data = open_dataset(f"csv:{path},target=y", task="classification", test_fraction=0.01)
    assert data.class_names == tuple(str(k + 10**17) for k in range(count))
    np.testing.assert_array_equal(data.train.y, data.train.x[:, 0])
    assert open_dataset(f"csv:{path},target=y").task == "regression"
