"""Random tables, written as the csv module, data frames and spreadsheets write them, are read back exactly.

Blocks are made tiny, so that rows, quotes and line ends meet their borders. Both readers must agree to the bit, and in
what they say against a damaged table.
"""

import bz2
import csv
import gzip
import io
import lzma
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mpitrain.data.tables import CsvOptions, blocks, open_table
from mpitrain.device import CPU
from mpitrain.errors import UserError

SLOW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
READERS = ("csv", "arrow")
CHARACTERS = st.characters(exclude_categories=("Cs", "Cc"), max_codepoint=0x2FFF) | st.sampled_from(",;\t|\"' \n")
TEXT = st.text(CHARACTERS, max_size=8).map(str.strip)
NAMES = st.text(CHARACTERS, min_size=1, max_size=8).map(str.strip)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
CELLS = {
    "float": FLOATS,
    "integer": st.integers(-(10**20), 10**20),
    "small": st.integers(0, 3),
    "boolean": st.booleans(),
    "text": TEXT.map(lambda text: f"t{text}"),
}
COMPRESSIONS = {"": lambda data: data, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@st.composite
def tables(draw, kinds=tuple(CELLS)):
    """A dict of column name to (kind, values)."""
    names = draw(
        st.lists(NAMES.filter(lambda n: n and not n.startswith(("Unnamed: 0", "sep=")) and not is_number(n)),
                 min_size=2, max_size=5, unique=True)
    )  # fmt: skip
    num_rows = draw(st.integers(1, 30))
    table = {}
    for name in names:
        kind = draw(st.sampled_from(kinds))
        table[name] = kind, draw(st.lists(CELLS[kind], min_size=num_rows, max_size=num_rows))
    return table


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def written(value):
    return repr(value) if isinstance(value, float) else str(value)


def rows_of(table):
    return [list(row) for row in zip(*([written(v) for v in values] for _, values in table.values()))]


def check(path, table, options=None, reader="csv"):
    read = open_table(path, options or CsvOptions(), keep_all=True, reader=reader)
    assert tuple(read.columns) == tuple(table)
    assert len(read.lines) == len(next(iter(table.values()))[1])
    for name, (kind, values) in table.items():
        if kind == "text":
            assert list(read.columns[name]) == values
        else:
            expected = np.array([float(v) for v in values])
            assert read.numbers([name])[:, 0].tobytes() == expected.tobytes(), (name, values)
    numbers = [name for name, (kind, _) in table.items() if kind != "text"]
    again = open_table(path, options or CsvOptions(), features=numbers, reader=reader)
    expected = np.array([[float(v) for v in table[name][1]] for name in numbers]).T
    assert again.numbers(numbers).tobytes() == np.ascontiguousarray(expected).tobytes()


def without_line_feeds(cells):
    return [cell.replace("\n", "#") if isinstance(cell, str) else cell for cell in cells]


@pytest.fixture
def tiny(monkeypatch):
    """Return a function that sets the size of blocks: the header and a little, then so many bytes."""

    def set_sizes(header, size):
        monkeypatch.setattr(blocks, "FIRST_BYTES", header + size)
        monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
        monkeypatch.setattr(blocks, "MORE_BYTES", 1)
        monkeypatch.setattr(CPU, "threads", 2)  # on any machine: blocks are parsed ahead

    return set_sizes


def header_size(names, separator, end):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL).writerow(names)
    return len(out.getvalue().encode()) + 10


@SLOW
@given(data=st.data())
def test_tables_of_the_csv_module(tmp_path, tiny, data):
    table = data.draw(tables())
    separator = data.draw(st.sampled_from(",;\t| "), "separator")
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]), "line end")
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]), "encoding")
    compression = data.draw(st.sampled_from(list(COMPRESSIONS)), "compression")
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]), "quoting")
    if end == "\r":  # before Python 3.13 the writer does not quote a line feed among such line ends
        table = {name.replace("\n", "#"): (kind, without_line_feeds(cells)) for name, (kind, cells) in table.items()}
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerow(table)
    writer.writerows(rows_of(table))
    text = out.getvalue()
    if not data.draw(st.booleans(), "last line ends"):
        text = text.removesuffix(end)
    path = tmp_path / "table.csv"
    path.write_bytes(COMPRESSIONS[compression](text.encode(encoding)))
    tiny(header_size(table, separator, end), data.draw(st.sampled_from([1, 7, 40, 10_000]), "block size"))
    options = CsvOptions(sep=separator, encoding=encoding if encoding == "utf-16-le" else "")
    for reader in READERS:
        check(path, table, options, reader)


@SLOW
@given(data=st.data())
def test_tables_of_data_frames(tmp_path, tiny, data):
    pandas = pytest.importorskip("pandas")
    table = data.draw(tables())
    frame = pandas.DataFrame({name: values for name, (_, values) in table.items()})
    separator, decimal = data.draw(st.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", ",")]), "notation")
    compression = data.draw(st.sampled_from([None, "gzip", "bz2", "xz"]), "compression")
    index = data.draw(st.booleans(), "index")
    path = tmp_path / "table.csv"
    path.unlink(missing_ok=True)
    frame.to_csv(
        path,
        sep=separator,
        decimal=decimal,
        index=index,
        compression=compression,
        encoding=data.draw(st.sampled_from(["utf-8", "utf-8-sig"])),
        lineterminator=data.draw(st.sampled_from(["\n", "\r\n"])),
        quoting=data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
    )
    tiny(header_size(["", *table], separator, "\n"), data.draw(st.sampled_from([1, 30, 10_000]), "block size"))
    for reader in READERS:
        options = CsvOptions(sep=separator, decimal=decimal)
        read = open_table(path, options, reader=reader)
        assert read.index == (("",) if index else ())
        check(path, table, options, reader)


@SLOW
@given(
    values=st.lists(st.lists(FLOATS, min_size=2, max_size=2), min_size=1, max_size=30),
    size=st.sampled_from([1, 30, 10_000]),
    end=st.sampled_from(["\n", "\r\n"]),
    sep_line=st.booleans(),
    trailing=st.sampled_from(["", ";", "rows"]),
    blank=st.integers(0, 2),
    thousands=st.sampled_from(["", "."]),
    bom=st.sampled_from(["", "\ufeff"]),
)
def test_tables_of_spreadsheets(tmp_path, tiny, values, size, end, sep_line, trailing, blank, thousands, bom):
    """Semicolons, decimal commas, ``sep=;``, separators behind the last cell, rows of separators only."""
    lines = ["länge;y" + (";" if trailing == ";" else "")]
    lines += [";".join(german(v, thousands) for v in row) + (";" if trailing else "") for row in values]
    lines += [";" + (";" if trailing else "")] * blank
    text = bom + ("sep=;" + end if sep_line else "") + end.join(lines) + end
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    tiny(20, size)
    expected = np.array(values)
    for reader in READERS:
        read = open_table(path, CsvOptions(decimal=",", thousands=thousands), reader=reader)
        assert read.features == ("länge", "y")
        assert read.numbers(read.features).tobytes() == expected.tobytes()
        assert read.read.num_blank == blank
        assert list(read.lines) == [k + 2 + sep_line for k in range(len(values))]


def german(value, thousands):
    text = repr(value)
    whole, point, rest = text.partition(".")
    digits = whole.removeprefix("-")
    if thousands and point and digits.isdigit():
        whole = "-" * whole.startswith("-") + f"{int(digits):,}".replace(",", thousands)
    return whole + point.replace(".", ",") + rest


@SLOW
@given(data=st.data())
def test_missing_values(tmp_path, tiny, data):
    """Marks for missing values are counted, and the first one is named, whichever they are."""
    num_rows = data.draw(st.integers(2, 20))
    rows = [[data.draw(FLOATS), data.draw(FLOATS)] for _ in range(num_rows)]
    mark = data.draw(st.sampled_from(["", "NA", "N/A", "null", "NaN", "#N/A", "#DIV/0!", "-", "None", " "]), "mark")
    holes = data.draw(st.sets(st.tuples(st.integers(0, num_rows - 1), st.just(1)), min_size=1), "holes")
    text = "a,b\n" + "".join(
        ",".join(mark if (r, c) in holes else repr(v) for c, v in enumerate(row)) + "\n" for r, row in enumerate(rows)
    )
    if len(holes) == num_rows:
        return
    path = tmp_path / "table.csv"
    path.write_text(text)
    tiny(4, data.draw(st.sampled_from([1, 30, 10_000])))
    first = min(row for row, _ in holes) + 2
    for reader in READERS:
        table = open_table(path, reader=reader)
        assert np.array_equal(table.numbers(["a"])[:, 0], [row[0] for row in rows])
        with pytest.raises(UserError, match=f"{len(holes)} missing value.* column 'b' on line {first}"):
            table.numbers(["b"])


ODD = st.sampled_from(
    ["x", "True", "NA", "", "", " ", '"', '""', '"a"', '"a,b"', '"1"', '"2"""', 'a"b"', '5"', '"a"b', '"a\nb"', "1_0",
     "inf", "nan", "-INF", "1e999", "é", "\u0661", "+7", "00", "0x1", "nan(1)", "\t3", " 4 ", "5\u00a0", "a\rb", ",",
     "1;2", "\x0b"]
)  # fmt: skip
PLAIN = st.sampled_from(["1", "2.5", "-3e4", "1.", ".5", "1E-7"])
ROWS = st.one_of(
    st.tuples(PLAIN, PLAIN, PLAIN),
    st.tuples(PLAIN, PLAIN, st.sampled_from(["x", "y", '"z"', '"a,b"'])),
    st.tuples(ODD | PLAIN, PLAIN, PLAIN | ODD),
    st.tuples(PLAIN, ODD, st.just("x")),
    st.tuples(st.just(""), st.just(""), st.just("")),
    st.lists(PLAIN | ODD, max_size=4),
)
ENDS = st.sampled_from(["\n"] * 6 + ["\r\n", "\r", "\n\n", "\n \n"])


@settings(SLOW, max_examples=300)
@given(
    rows=st.lists(st.tuples(ROWS, ENDS), max_size=12),
    third=st.sampled_from(["x", "7", "True", "NA"]),
    size=st.sampled_from([1, 12, 10_000]),
    target=st.sampled_from(["", "a", "c"]),
    first_rows=st.integers(1, 2),
)
@example(  # a long line in a buffer that was used before by one reader, and not by the other
    rows=[(("1", "x", "x"), "\n"), (("2.5", "2.5", "-3e4"), "\n \n"), (("1", "1", "1"), "\n"), (("x", "1", '"'), "\n")],
    third="True",
    size=12,
    target="",
    first_rows=2,
)
def test_both_readers_say_the_same(tmp_path, tiny, rows, third, size, target, first_rows):
    """Whatever is in a file: the same numbers, or the same sentence."""
    head = f"a,b,c\n1,2,{third}\n"
    body = "".join(",".join(row) + end for row, end in rows)
    path = tmp_path / "table.csv"
    path.write_bytes((head + f"3,4,{third}\n" * (first_rows - 1) + body).encode())
    tiny(len(head), size)
    options = CsvOptions(target=target, sep=",")
    first, second = (outcome(path, options, reader) for reader in READERS)
    assert first == second


def outcome(path, options, reader):
    try:
        table = open_table(path, options, reader=reader)
    except UserError as error:
        return str(error)
    found = [list(table.lines), *(list(cells) for cells in table.columns.values())]
    for names in (table.features, table.targets, ("a",), ("a", "b")):
        try:
            found.append(table.numbers(names).tobytes())
        except UserError as error:
            found.append(str(error))
    return found


@SLOW
@given(
    bits=st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=50),
    form=st.sampled_from(["r", ".17g", ".25e"]),
)
def test_every_float64_comes_back(tmp_path, tiny, bits, form):
    values = [v for (v,) in (struct.unpack("<d", b) for b in bits) if np.isfinite(v)]
    if not values:
        return
    path = tmp_path / "table.csv"
    path.write_text("a,b\n" + "".join(f"{repr(v) if form == 'r' else format(v, form)},1\n" for v in values))
    tiny(4, 100)
    for reader in READERS:
        assert open_table(path, reader=reader).numbers(["a"]).tobytes() == np.array(values).tobytes()


@settings(SLOW, max_examples=250)
@given(text=st.text('a",\n\r', max_size=24))
@example('"",a"\n"')
@example('5"\n"\n"')
def test_a_well_quoted_block_ends_where_a_row_ends(text):
    data = text.encode() + b"\n"
    if blocks.well_quoted(data, b","):
        whole = list(csv.reader(io.StringIO(data.decode() + "next\n", newline="")))
        assert whole == [*csv.reader(io.StringIO(data.decode(), newline="")), ["next"]]


@SLOW
@given(
    rows=st.lists(st.lists(TEXT.map(lambda t: f"t{t}"), min_size=2, max_size=2), max_size=20),
    size=st.sampled_from([1, 5, 20]),
)
def test_well_written_rows_are_well_quoted(rows, size):
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(rows)
    assert blocks.well_quoted(out.getvalue().encode(), b",")
