import codecs
import csv
import dataclasses
import io

import numpy as np
import pytest

from mpitrain.data.tables import parts
from mpitrain.data.tables.options import CsvOptions
from mpitrain.data.tables.table import open_table
from mpitrain.errors import UserError


def table_text(rng, rows, quotes):
    """Return a table whose texts hold separators, line ends and quotes, if these may occur."""
    cells = ["plain", "two\nlines", 'say "hi"', "a,b", "\r\n", ""] if quotes else ["plain", "x"]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=rng.choice(["\n", "\r\n"]))
    writer.writerow(["number", "text"])
    for k in range(rows):
        writer.writerow([k / 8, rng.choice(cells)])
    return text.getvalue()


def values(table):
    return table.numbers(["number"])[:, 0].tolist(), list(table.columns["text"])


@pytest.mark.parametrize("quotes", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 37, 400])
def test_parts_have_all_rows_once(tmp_path, monkeypatch, quotes, rows):
    seed = int(np.random.SeedSequence().entropy % 2**32)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    for least in (1, 7, 100, 5000):
        monkeypatch.setattr(parts, "LEAST", least)
        monkeypatch.setattr(parts, "WINDOW", int(rng.integers(1, 40)))
        path = tmp_path / "t.csv"
        path.write_text(table_text(rng, rows, quotes), newline="")
        options = CsvOptions()
        found = parts.alone(parts.divide_file(path, options))
        if least == 1 and rows > 30:
            assert len(found) > 5
        numbers, texts = [], []
        for part in found:
            more = values(open_table(path, part, features=["number", "text"]))
            numbers += more[0]
            texts += more[1]
        assert (numbers, texts) == values(open_table(path, options, features=["number", "text"]))


def test_line_numbers_are_those_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "LEAST", 50)
    path = tmp_path / "t.csv"
    path.write_text('a,b\n"x\ny",1\n' + "".join(f"t,{k}\n" for k in range(200)))
    found = parts.alone(parts.divide_file(path, CsvOptions()))
    assert len(found) > 10
    last = parts.at_its_line(path, found[-1])
    assert open_table(path, last).lines[-1] == path.read_text().count("\n")
    path.write_text(path.read_text() + "t,9,9\n")
    found = parts.alone(parts.divide_file(path, CsvOptions()))
    with pytest.raises(UserError, match="line 204 has 3 cells, but the header 2"):
        open_table(path, parts.at_its_line(path, found[-1]))


@pytest.mark.parametrize(
    "content",
    [
        'a,b\n5" pipe,1\n' + "x,2\n" * 50,  # a stray quote
        "a,b\r" + "x,2\r" * 50,  # line ends of old Macs
        codecs.BOM_UTF16_LE + ("a,b\n" + "x,2\n" * 50).encode("utf-16-le"),
    ],
    ids=["stray quote", "carriage returns", "UTF-16"],
)
def test_files_that_are_not_divided(tmp_path, monkeypatch, content):
    monkeypatch.setattr(parts, "LEAST", 20)
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert parts.alone(parts.divide_file(path, CsvOptions())) == [CsvOptions()]


def test_options_are_those_of_the_file(tmp_path, monkeypatch):
    """A part is read with the separator of the whole file, also where its rows suggest another one."""
    monkeypatch.setattr(parts, "LEAST", 30)
    path = tmp_path / "t.csv"
    path.write_text("a;b\n" + "1;2\n" * 30 + '"1,5";"2,5"\n' * 30)
    options = CsvOptions(decimal=",")
    found = parts.alone(parts.divide_file(path, options))
    whole = open_table(path, options).numbers(["a", "b"])
    np.testing.assert_array_equal(np.concatenate([open_table(path, one).numbers(["a", "b"]) for one in found]), whole)
    assert {dataclasses.replace(one, part=None) for one in found} == {CsvOptions(decimal=",", sep=";")}


def test_a_file_that_shrinks_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "LEAST", 30)
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + '"1",2\n' * 50)
    division = parts.divide_file(path, CsvOptions())
    task = next(division)
    path.write_text("a,b\n")
    with pytest.raises(UserError, match="has changed while it was read"):
        [task.function(item) for item in task.items]
