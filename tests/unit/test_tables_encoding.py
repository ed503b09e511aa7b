"""Columns of categories, dates and missing values: encoded by the training rows, and alike in other files."""

import csv
import json
import math
import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.data.draw import split_rows, validation_rows
from mpitrain.data.matching.rows import open_rows, open_samples
from mpitrain.data.matching.signature import Extremes, Signature
from mpitrain.data.tables import CsvOptions, blocks
from mpitrain.data.tables.cells import CellFormat, Role
from mpitrain.data.tables.dates import DateFormat, find_format
from mpitrain.data.tables.table import begin_table, read_rows
from mpitrain.data.validation import with_validation
from mpitrain.errors import UserError

HEADER = ["city", "age", "when", "zip", "y"]


def make_rows(seed, count=300):
    """Return rows with missing values and rare cities."""
    rng = random.Random(seed)
    rows = []
    for k in range(count):
        city = rng.choice(["Rome", "Oslo", "Köln", "", f"village {k}"])
        age = rng.choice(["", "NA", f"{rng.gauss(40, 9):.2f}", f"{rng.gauss(40, 9):.2f}"])
        when = datetime(2020, 1, 1) + timedelta(hours=rng.randrange(20_000))
        rows.append([city, age, f"{when:%Y-%m-%d %H:%M}", rng.choice(["101", "202", "303"]), rng.choice(["no", "yes"])])
    return rows


def write(path, rows, header=HEADER):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def signature_of(dataset, source):
    """Return the signature of a dataset, after a journey through JSON, as weights keep it."""
    return Signature.from_facts(json.loads(json.dumps(Signature.of(dataset, source=source).facts())))


def by_hand(rows, train):
    """Return the samples of ``rows`` with statistics of the rows ``train``: written down without the product."""
    ages = [float(rows[k][1]) for k in train if rows[k][1] not in ("", "NA")]
    median = float(np.median(ages))
    cities = [rows[k][0] for k in train if rows[k][0]]
    known = sorted({city for city in cities if cities.count(city) >= 2})
    zips = sorted({rows[k][3] for k in train})
    found = []
    for city, age, when, code, _ in rows:
        days = (datetime.fromisoformat(when) - datetime(1970, 1, 1)).total_seconds() / 86400
        angles = [2 * math.pi * days / 365.2425, 2 * math.pi * (days - 4) / 7, 2 * math.pi * days]
        lacks = age in ("", "NA")
        found.append(
            [known.index(city) + 1 if city in known else 0, median if lacks else float(age), lacks, days]
            + [wave(angle) for angle in angles for wave in (math.sin, math.cos)]
            + [zips.index(code) + 1 if code in zips else 0]
        )
    return np.array(found, np.float64)


@pytest.fixture
def trained(tmp_path):
    seed = random.randrange(1 << 30)
    print(f"{seed=}")
    rows = make_rows(seed)
    source = f"csv:{write(tmp_path / 't.csv', rows)},target=y,categories=zip"
    return rows, source, open_dataset(source, seed=3), seed


def test_the_training_rows_alone_decide(trained):
    rows, _, dataset, _ = trained
    y = np.array([row[-1] == "yes" for row in rows], np.int64)
    train, test = split_rows(y, "", 0.2, 3, "stratified")
    wanted = by_hand(rows, train)
    np.testing.assert_allclose(dataset.train.x, wanted[train], rtol=0, atol=1e-9)
    np.testing.assert_allclose(dataset.test.x, wanted[test], rtol=0, atol=1e-9)
    assert [one if one is None else one.size > 2 for one in dataset.categories] == [True, *[None] * 9, True]
    assert dataset.feature_names[:5] == ("city", "age", "age is missing", "when", "when (sin of year)")


@pytest.mark.parametrize("held", [{"validation": 0.25}, {"fold": "2/3"}])
def test_validation_rows_do_not_decide(trained, held):
    rows, source, _, _ = trained
    y = np.array([row[-1] == "yes" for row in rows], np.int64)
    train, test = split_rows(y, "", 0.2, 3, "stratified")
    opened = open_dataset(source, seed=3, **held)
    data = with_validation(opened, held.get("validation", 0), 3, fold=held.get("fold", ""))
    kept, drawn = validation_rows(y[train], held.get("validation", 0), 3, "stratified", held.get("fold", ""), "")
    wanted = by_hand(rows, train[kept])
    for part, places in ((data.train, train[kept]), (data.validation, train[drawn]), (data.test, test)):
        np.testing.assert_allclose(part.x, wanted[places], rtol=0, atol=1e-9)


def test_another_file_is_encoded_alike(trained, tmp_path):
    rows, source, dataset, seed = trained
    signature = signature_of(dataset, source)
    y = np.array([row[-1] == "yes" for row in rows], np.int64)
    train, _ = split_rows(y, "", 0.2, 3, "stratified")
    other = make_rows(seed + 1, 50)
    other[0][0], other[1][3], other[2][2] = "Atlantis", "999", "31 December 1999"
    wanted = by_hand([*rows, *[[*row[:2], "1999-12-31", *row[3:]] if row is other[2] else row for row in other]], train)
    order = [4, 2, 0, 3, 1]
    path = write(tmp_path / "o.csv", [[row[k] for k in order] for row in other], [HEADER[k] for k in order])
    for opened in (open_samples(f"csv:{path}", signature), open_rows(f"csv:{path}", signature)):
        np.testing.assert_allclose(opened.parts[0].x, wanted[len(rows) :], rtol=0, atol=1e-9)
    again = open_dataset(source, seed=4, encoding=signature.encoding)  # another split, the same encoding
    np.testing.assert_allclose(again.train.x, wanted[split_rows(y, "", 0.2, 4, "stratified")[0]], rtol=0, atol=1e-9)
    assert again.categories[0].digest() == dataset.categories[0].digest()


def test_a_test_file_does_not_decide(tmp_path):
    train, test = make_rows(1, 80), [*make_rows(2, 20), ["Rio", "1000", "2021-01-01", "404", "no"]]
    paths = [write(tmp_path / f"{k}.csv", rows) for k, rows in enumerate((train, test))]
    data = open_dataset(f"csv:{paths[0]},target=y,categories=zip,test={paths[1]}")
    wanted = by_hand([*train, *test], range(80))
    np.testing.assert_allclose(data.train.x, wanted[:80], atol=1e-9)
    np.testing.assert_allclose(data.test.x, wanted[80:], atol=1e-9)
    assert "404" not in data.categories[-1].values.tolist()


def test_numbers_that_are_missing_later(tmp_path):
    source = f"csv:{write(tmp_path / 'a.csv', [[k, k % 2] for k in range(9)], ['a', 'y'])},target=y"
    data = open_dataset(source)
    path = write(tmp_path / "b.csv", [[5], ["NA"]], ["a"])
    rows = open_samples(f"csv:{path}", signature_of(data, source))
    assert rows.parts[0].x.tolist() == [[5.0], [float(np.median(data.train.x))]]
    assert "values are missing in 'a', where the training rows had all" in rows.notes[0]


def test_codes_have_no_scale(tmp_path):
    rows = [[f"city {k % 40:02d}", k % 7, k % 2] for k in range(400)]
    source = f"csv:{write(tmp_path / 'a.csv', rows, ['c', 'n', 'y'])},target=y"
    data = open_dataset(source)
    trained = Signature.of(data, source=source, extremes=Extremes.of(data.train.x))
    for city, number, complains in (("city 00", 6, False), ("city 00", 600, True)):
        path = write(tmp_path / "b.csv", [[city, number]] * 30, ["c", "n"])
        x = open_samples(f"csv:{path}", trained).parts[0].x
        assert bool(trained.complaint("float64", Extremes.of(x), len(x))) == complains


def test_mean_and_counts(tmp_path):
    rows = [["", "a"], ["1", "a"], ["5", "b"], ["9", "b"]] * 5
    path = write(tmp_path / "t.csv", [[a, b, k] for k, (a, b) in enumerate(rows)], ["a", "b", "y"])
    data = open_dataset(f"csv:{path},target=y,impute=mean,test={path}")
    assert data.train.x[0].tolist() == [5.0, 1.0, 1.0]
    data = open_dataset(f"csv:{path},target=y,min_count=11,test={path}")
    assert data.feature_names == ("a", "a is missing")
    assert any("no category of it is in 11 training rows" in note for note in data.notes)


def test_only_categories_are_integers(tmp_path):
    path = write(tmp_path / "t.csv", [["ab"[k % 2], "xyz"[k % 3], k % 2] for k in range(30)], ["a", "b", "y"])
    source = f"csv:{path},target=y"
    data = open_dataset(source)
    assert data.train.x.dtype == np.int64
    assert data.only_codes
    rows = open_samples(source, signature_of(data, source))
    assert rows.parts[0].x.dtype == np.int64
    np.testing.assert_array_equal(rows.parts[0].x[:3], [[1, 1], [2, 2], [1, 3]])


def test_whole_numbers_however_they_are_written(tmp_path):
    path = write(tmp_path / "t.csv", [[k % 3, k % 2] for k in range(30)], ["a", "y"])
    source = f"csv:{path},target=y,categories=a"
    signature = signature_of(open_dataset(source), source)
    path = write(tmp_path / "n.csv", [["2.0"], ["+1"], ["7"], [""], ["02"]], ["a"])
    assert open_samples(f"csv:{path}", signature).parts[0].x[:, 0].tolist() == [3, 2, 0, 0, 0]


def test_text_that_shows_late(tmp_path):
    late = [["", "", k, k % 2] for k in range(40_000)]  # more than the first block
    late += [[f"c{k % 3}", f"2024-01-{1 + k % 28:02d}", k, k % 2] for k in range(80_000)]
    path = write(tmp_path / "t.csv", late, ["a", "d", "n", "y"])
    data = open_dataset(f"csv:{path},target=y")
    assert data.categories[0].values.tolist() == ["c0", "c1", "c2"]
    assert data.feature_names == ("a", "d", "d (sin of week)", "d (cos of week)", "d is missing", "n")
    days = data.train.x[:, 1]
    assert (days.min(), days.max()) == (19723, 19750)


@pytest.mark.parametrize("reader", ["csv", "arrow"])
@pytest.mark.parametrize("odd", ["", " NA", "nAn", "?"])
def test_gaps_are_read_alike_and_quickly(tmp_path, monkeypatch, reader, odd):
    """Missing numbers send no block to the cell by cell reader, unless they are written oddly; blank rows stay out."""
    if reader == "arrow":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(blocks, "FIRST_BYTES", 1 << 10)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 11)
    rng = random.Random(5)
    cells = [
        [rng.choice(["", "NA", "NaN", "1.5", "2e3"]), f"{rng.gauss(0, 1)}", rng.choice("xy"), k % 2] for k in range(900)
    ]
    cells[700][1] = odd
    text = [",".join(map(str, row)) for row in cells]
    text[500:500] = [",,,"]
    (tmp_path / "t.csv").write_text("a,b,c,y\n" + "\n".join(text) + "\n")
    slow = []
    monkeypatch.setattr(
        CellFormat, "_interpret", lambda *args, own=CellFormat._interpret: (slow.append(1), own(*args))[1]
    )
    table = begin_table(tmp_path / "t.csv", CsvOptions(target="y"), None, reader)
    read_rows(table, roles=dict.fromkeys(table.features, Role.AUTO))
    known = {"": math.nan, "NA": math.nan, "NaN": math.nan}
    wanted = [[known.get(a, a), known.get(b, b) if b != odd else math.nan] for a, b, _, _ in cells]
    np.testing.assert_array_equal(table.raw[:, :2], np.array(wanted, np.float64))
    assert table.read.num_blank == 1
    for k, name in enumerate("ab"):
        tally = table.column(name).tally
        assert tally.count(*table.missing_kinds(name)) == np.isnan(table.raw[:, k]).sum()
    assert len(slow) < 400


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (["3/4/2024", "5/6/2024"], "", "the day or the month may come first: dates=dmy or dates=mdy says which"),
        (["1,5", "2,5"], "", "decimal=comma reads it as 1.5"),
        (["1", "2", "x", "4"], "", "holds numbers, but also 'x' on line 4"),
        (["u", "v"], ",categories=b", r"has no column 'b'.*its columns are 'a', 'y'"),
        (["u", "v"], ",min_count=0", "min_count= is a number of rows, 1 or more, not '0'"),
        (["u", "v"], ",impute=zero", "impute= is one of median, mean, not 'zero'"),
        (["u", "v"], ",dates=ymd", "dates= is one of dmy, mdy, not 'ymd'"),
    ],
)
def test_refusals(tmp_path, rows, options, message):
    path = write(tmp_path / "t.csv", [[a, k % 2] for k, a in enumerate(rows * 4)], ["a", "y"])
    with pytest.raises(UserError, match=message):
        open_dataset(f"csv:{path},target=y{options}")


def test_dates_that_are_none_later(tmp_path):
    rows = [[f"2024-01-{1 + k % 28:02d}", k % 2] for k in range(60)]
    path = write(tmp_path / "t.csv", rows, ["d", "y"])
    signature = signature_of(open_dataset(f"csv:{path},target=y"), f"csv:{path},target=y")
    path = write(tmp_path / "n.csv", [["2024-01-01"], ["soon"]], ["d"])
    with pytest.raises(UserError, match="column 'd' holds dates, but also 'soon' on line 3"):
        open_samples(f"csv:{path}", signature)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d %B %Y", "%b %d, %Y", "%Y-%m-%dT%H:%M:%SZ",
                                  "%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M %p"])  # fmt: skip
def test_notations_of_dates(form):
    seed = random.randrange(1 << 30)
    print(f"{seed=}")
    rng = random.Random(seed)
    times = [datetime(1900, 1, 1, tzinfo=UTC) + timedelta(minutes=rng.randrange(10**8)) for _ in range(200)]
    cells = [f"{one:{form}}" for one in times]
    (dates,) = find_format(cells, None)
    assert dates.order == {"%d/": "dmy", "%m/": "mdy"}.get(form[:3], "")
    wanted = [datetime.strptime(cell, form).replace(tzinfo=UTC).timestamp() / 86400 for cell in cells]
    np.testing.assert_allclose(dates.interpret(cells)[0], wanted, rtol=0, atol=1e-8)


@pytest.mark.parametrize("cell", ["2024-02-30", "2024-13-01", "2024-01-01 25:00", "2024-01-01 10:61", "12", "May",
                                  "1.2.34", "2024-1-1-1", "13:45", "2024/1-1", "２024-01-01"])  # fmt: skip
def test_cells_that_are_no_dates(cell):
    assert DateFormat("mdy").days(cell) is None
