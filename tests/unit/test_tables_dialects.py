"""Files as spreadsheets and data frames write them."""

import bz2
import gzip
import importlib.util
import lzma
import os

import numpy as np
import pytest

from mpitrain.data import open_dataset, open_features
from mpitrain.data.tables import open_table
from mpitrain.errors import UserError

ROWS = [(-1.2, "n"), (0.4, "p"), (0.9, "p"), (-0.3, "n"), (1.5, "p"), (-0.8, "n"), (0.1, "p"), (2.0, "p")]


@pytest.fixture
def write(tmp_path):
    def write_file(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def body(separator=",", end="\n", cell=str, tail=""):
    return "".join(f"{cell(a)}{separator}{y}{tail}{end}" for a, y in ROWS)


def check(path, options="", features=("a",)):
    data = open_dataset(f"csv:{path},target=y{options}")
    assert (data.feature_names, data.class_names) == (features, ("n", "p"))
    found = dict(
        zip(np.concatenate([data.train.x, data.test.x])[:, 0].round(3).tolist(), [*data.train.y, *data.test.y])
    )
    assert {round(a, 1): "np"[y] for a, y in found.items()} == dict(ROWS)
    return data


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("sep=;\r\na;y\r\n" + body(";", "\r\n"), ""),
        ('"sep=|"\r\na|y\r\n' + body("|", "\r\n"), ""),
        ("SEP=\t\na\ty\n" + body("\t"), ""),
        ("\ufeffsep=;\na;y\n" + body(";"), ""),
        ("a|y\n" + body("|"), ""),
        ("a y\n" + body(" "), ",sep=space"),
        ("a;y;\n" + body(";", tail=";"), ""),
        ("a;y;;;\n" + body(";", tail=";;;"), ""),
        ("a;y\n" + body(";", tail=";"), ""),
        ("a;y;\n" + body(";"), ""),
        ("a,y\r" + body(end="\r"), ""),
        ("a,y\r\n" + body(end="\r\n") + ",\r\n,\r\n", ""),
        ("\n\na,y\n" + body() + "\n\n", ""),
        ("a;y\n" + body(";", cell=lambda a: str(a).replace(".", ",")), ",decimal=comma"),
        ('"a","y"\n' + "".join(f'"{a}","{y}"\n' for a, y in ROWS), ""),
        ("a , y\n" + body(" , "), ""),
        ("a;y\n" + body(";"), ",sep=semicolon"),
    ],
)
def test_spreadsheets(write, content, options):
    check(write(content), options)


def test_a_header_with_a_quoted_line_end(write):
    """inputs/header-quoted-newline.csv: the separator is not what stands before the line end."""
    path = write('"a, in\nmm";b;y\n' + "".join(f"{a};3;{y}\n" for a, y in ROWS))
    data = check(path, features=("a, in\nmm", "b"))
    assert not any("\n" in note for note in data.notes)
    assert list(open_table(path).lines) == list(range(3, 11))


def test_decimal_commas_without_the_option(write):
    path = write("a;b;y\n" + "".join(f"{a};1,5;{y}\n".replace(".", ",") for a, y in ROWS))
    with pytest.raises(
        UserError, match=r"columns 'a', 'b' hold text .first '-1,2' on line 2.*decimal=comma reads it as -1.2"
    ):
        open_dataset(f"csv:{path},target=y")


@pytest.mark.parametrize(
    ("header", "left_out"),
    [(",a,y", "column 1, which has no name,"), ("Unnamed: 0,a,y", "column 'Unnamed: 0',"),
     (",Unnamed: 0,a,y", "column"), ("Unnamed: 0.1,Unnamed: 0,a,y", "column 'Unnamed: 0.1', 'Unnamed: 0',")],
)  # fmt: skip
def test_the_index_of_a_data_frame(write, header, left_out):
    lead = header.count(",") - 1
    path = write(header + "\n" + "".join(f"{f'{k},' * lead}{a},{y}\n" for k, (a, y) in enumerate(ROWS)))
    data = check(path)
    note = next(note for note in data.notes if "index of a data frame" in note)
    assert left_out in note


def test_an_index_that_a_model_was_trained_on(write):
    """Earlier versions took it for a feature."""
    path = write("Unnamed: 0,a\n5,1.5\n6,2.5\n")
    features = open_features(f"csv:{path}", feature_names=("a", "Unnamed: 0"))
    np.testing.assert_array_equal(features.x, [[1.5, 5], [2.5, 6]])


def test_names_that_are_numbers(write):
    path = write(",0,1,y\n0,1.5,2,n\n1,2.5,3,p\n2,0,1,p\n3,1,1,n\n")
    assert open_dataset(f"csv:{path},target=y").feature_names == ("0", "1")
    with pytest.raises(UserError, match="has no header"):
        open_table(write(",0.5,1.5\n1,2,3\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,,y\n1,,2\n3,4,5\n", "column 2 has no name in the header"),
        ("a,y,\n1,2,\n3,4,5\n", "column 3 has no name in the header"),
        ("a,y\n1,2,3\n4,5,6\n", "the first row has 3 cells, but the header 2: .*write.table of R"),
        (b"PK\x03\x04rest of it", "is an Excel workbook or a zip archive: save it as CSV"),
        (b"PAR1rest of it", "is a Parquet file: use parquet:FILE"),
        (gzip.compress(b"a,y\n1,2\n", mtime=0)[:-9], "is cut off: it ends too early"),
        (lzma.compress(b"a,y\n1,2\n" * 99)[:-30], "is cut off|is damaged"),
        (lzma.compress(b"a,y\n1,2\n" * 99)[:30] + b"xxxxx" + lzma.compress(b"a,y\n1,2\n" * 99)[35:], "is damaged"),
        (b"\x1f\x8bnothing but text", "is damaged or not a table"),
    ],
)
def test_unfit_files(write, content, message):
    with pytest.raises(UserError, match=message):
        open_dataset(f"csv:{write(content)},target=y")


@pytest.mark.parametrize(
    ("name", "pack"),
    [("t.csv.gz", gzip.compress), ("t.csv.bz2", bz2.compress), ("t.csv.xz", lzma.compress), ("t", bytes)],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_compressed_files(write, name, pack, encoding):
    assert check(write(pack(("a,y\n" + body()).encode(encoding)), name)).name == "t"


@pytest.mark.skipif(not importlib.util.find_spec("pyarrow"), reason="needs pyarrow")
def test_zstd(write, monkeypatch):
    import pyarrow

    packed = pyarrow.compress(("a,y\n" + body()).encode(), "zstd", asbytes=True)
    path = write(packed, "t.csv.zst")
    check(path)
    path.write_bytes(packed[:-8])
    with pytest.raises(UserError, match="damaged"):
        open_dataset(f"csv:{path},target=y")
    path.write_bytes(packed)
    for module in ("pyarrow", "compression"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(UserError, match=r"compressed with zstd, which needs pyarrow: pip install 'mpitrain\[tables\]'"):
        open_dataset(f"csv:{path},target=y")


def test_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is no regular file"):
        open_dataset(f"csv:{tmp_path}/pipe,target=y")


def test_columns_to_leave_out(write):
    path = write("id,name,a,y\n" + "".join(f"{k},n{k},{a},{y}\n" for k, (a, y) in enumerate(ROWS)))
    notes = open_dataset(f"csv:{path},target=y").notes
    assert any("column 'name': no category of it is in 2 training rows (min_count=); left out" in n for n in notes)
    check(path, ",drop=id,name")
    check(path, ",drop=id,drop=name")
    with pytest.raises(UserError, match=r"has no column 'nme' \(did you mean 'name'\?\)"):
        open_dataset(f"csv:{path},target=y,drop=id,nme")
    with pytest.raises(UserError, match=r"has no column 'y,dorp=id' \(did you mean the option drop=\?\)"):
        open_dataset(f"csv:{path},target=y,dorp=id")


def test_warnings(write):
    rows = "".join(f"{100 + k},{k / 7},5,{k % 4},{'np'[k % 3 > 0]}\n" for k in range(40))
    data = open_dataset(f"csv:{write('id,a,one,b,y' + chr(10) + rows)},target=y")
    notes = [note.partition(": ")[2] for note in data.notes]
    assert "column 'one' holds the same value in every row" in notes
    assert "column 'id' holds another integer in every row: drop=id leaves an id out" in notes
    header = ",".join(f"c{k}" for k in range(17))
    path = write(f"{header},a,y\n" + "".join(f"{'1,' * 17}{k},{'np'[k % 2]}\n" for k in range(8)))
    data = open_dataset(f"csv:{path},target=y")
    assert any("'c4' and 12 more hold the same value in every row" in note for note in data.notes)


def test_rows_of_separators_are_left_out(write):
    path = write("a,b,y\n1,2,n\n,,\n3,4,p\n,,\n , ,\n5,6,n\n7,8,p\n")
    table = open_table(path)
    assert list(table.lines) == [2, 4, 7, 8]
    np.testing.assert_array_equal(table.numbers(["a", "b"]), [[1, 2], [3, 4], [5, 6], [7, 8]])
    assert any("3 rows of empty cells are left out" in note for note in open_dataset(f"csv:{path},target=y").notes)


def test_a_file_that_changes_while_it_is_read(write):
    path = write("a,y\n1,n\n2,p\n")
    table = open_table(path)
    path.write_text("a,y\n1,n\n2,p\n3,p\n")
    with pytest.raises(UserError, match="has changed while it was read"):
        table.columns["y"]
