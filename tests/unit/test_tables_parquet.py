"""Parquet files: the same samples as from text, by the types of their columns."""

import random
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from mpitrain.cli.main import main
from mpitrain.data import open_dataset
from mpitrain.data.matching.rows import open_rows, open_samples
from mpitrain.data.matching.signature import Signature
from mpitrain.data.tables import CsvOptions
from mpitrain.data.tables import parquet as reader
from mpitrain.errors import UserError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def make_columns(seed, count):
    rng = random.Random(seed)
    return {
        "city": [rng.choice(["Rome", "Oslo", None, "123"]) for _ in range(count)],
        "age": [rng.choice([None, rng.gauss(40, 9)]) for _ in range(count)],
        "when": [datetime(2020, 1, 1) + timedelta(minutes=rng.randrange(10**6)) for _ in range(count)],
        "zip": [rng.choice([101, 202, 303]) for _ in range(count)],
        "flag": [rng.random() < 0.5 for _ in range(count)],
        "day": [rng.choice([None, date(2021, 5, 1) + timedelta(days=rng.randrange(90))]) for _ in range(count)],
        "y": [rng.choice(["no", "yes"]) for _ in range(count)],
    }


def write_csv(path, columns):
    rows = ["" if cell is None else str(cell) for cells in zip(*columns.values()) for cell in cells]
    width = len(columns)
    lines = [",".join(columns), *(",".join(rows[k : k + width]) for k in range(0, len(rows), width))]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def files(tmp_path, monkeypatch):
    seed = random.randrange(1 << 30)
    print(f"{seed=}")
    monkeypatch.setattr(reader, "BATCH", 17)
    columns = make_columns(seed, 200)
    write_csv(tmp_path / "t.csv", columns)
    (tmp_path / "parts").mkdir()
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=60)
    for k, start in enumerate((0, 50, 130)):
        pq.write_table(table.slice(start, (50, 80, 70)[k]), tmp_path / "parts" / f"{k}.parquet")
    return tmp_path, table


@pytest.mark.parametrize("name", ["t.parquet", "parts"])
def test_the_same_as_text(files, name):
    folder, _ = files
    wanted = open_dataset(f"csv:{folder}/t.csv,target=y,categories=zip")
    found = open_dataset(f"parquet:{folder}/{name},target=y,categories=zip")
    assert found.feature_names == wanted.feature_names
    np.testing.assert_array_equal(found.train.x, wanted.train.x)
    np.testing.assert_array_equal(found.test.x, wanted.test.x)
    np.testing.assert_array_equal(found.test.y, wanted.test.y)
    assert [one and one.digest() for one in found.categories] == [one and one.digest() for one in wanted.categories]
    signature = Signature.of(wanted, source=f"csv:{folder}/t.csv,target=y,categories=zip")
    rows = open_rows(f"parquet:{folder}/{name}", signature)
    again = open_rows(f"csv:{folder}/t.csv", signature)
    np.testing.assert_array_equal(rows.parts[0].x, again.parts[0].x)
    np.testing.assert_array_equal(rows.parts[0].y, again.parts[0].y)


def test_types(tmp_path):
    count = 40
    columns = {
        "small": pa.array([k % 7 for k in range(count)], pa.int8()),
        "price": pa.array([Decimal(k) / 8 for k in range(count)], pa.decimal128(9, 3)),
        "kind": pa.array(["ab"[k % 2] for k in range(count)]).dictionary_encode(),
        "code": pa.array([f"0{k % 3}" for k in range(count)]),  # text, though its cells look like numbers
        "utc": pa.array([datetime(2024, 1, 1, 12, tzinfo=UTC)] * count, pa.timestamp("ns", "Europe/Rome")),
        "text_day": pa.array([f"2024-01-{1 + k % 28:02d}" for k in range(count)]),
        "none": pa.nulls(count),
        "y": pa.array([k * 0.5 for k in range(count)]),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    data = open_dataset(f"parquet:{tmp_path}/t.parquet,target=y,test={tmp_path}/t.parquet")
    names = data.feature_names
    assert names[:6] == ("small", "price", "kind", "code", "utc", "utc (sin of day)")
    x = dict(zip(names, data.train.x.T))
    np.testing.assert_array_equal(x["price"], np.arange(count) / 8)
    assert x["utc"].tolist() == [19723.5] * count
    assert data.categories[3].values.tolist() == ["00", "01", "02"]
    assert x["text_day"][:3].tolist() == [19723, 19724, 19725]
    assert any("'none': it has no value in the training rows; left out" in note for note in data.notes)
    assert data.task == "regression"


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"a": [[1], [2]], "y": [1, 2]}, ",target=y", r"'a' holds list<.*>, expected numbers, text or dates: .*drop=a"),
        ({"a": [1.0, float("inf")], "y": [1, 2]}, ",target=y", "column 'a' holds inf on row 2, expected a number"),
        ({"a": [1.0, 2.0], "y": [1, None]}, ",target=y", "1 missing value, the first in column 'y' on row 2"),
        ({"a": [], "y": []}, ",target=y", "has a header, but no rows"),
        ({"a": [1, 2], "y": [1, 2]}, ",target=z", "has no column 'z'; its columns are 'a', 'y'"),
        ({"a": [1, 2], "y": [1, 2]}, "", r"parquet: say which column is predicted, as in parquet:.*,target=COLUMN"),
        ({"a": [1, 2], "y": [1, 2]}, ",sep=tab", "has no option 'sep', only target, drop, test, categories"),
    ],
)  # fmt: skip
def test_refusals(tmp_path, columns, options, message):
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=message):
        open_dataset(f"parquet:{tmp_path}/t.parquet{options}")


def test_damaged_files(files):
    folder, table = files
    whole = (folder / "t.parquet").read_bytes()
    for size in (0, 3, len(whole) // 2, len(whole) - 1):
        (folder / "cut.parquet").write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"cut.parquet is (damaged or not|cut off).* a Parquet file"):
            open_dataset(f"parquet:{folder}/cut.parquet,target=y")
    (folder / "cut.parquet").write_bytes(whole[:300] + bytes(600) + whole[900:])
    with pytest.raises(UserError, match="cut"):
        open_dataset(f"parquet:{folder}/cut.parquet,target=y")
    pq.write_table(table.drop_columns(["zip"]), folder / "parts" / "3.parquet")
    with pytest.raises(UserError, match=r"3[.]parquet has other columns than 0[.]parquet"):
        open_dataset(f"parquet:{folder}/parts,target=y")
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=r"there are no files \*.parquet in this directory"):
        open_dataset(f"parquet:{folder}/empty,target=y")
    with pytest.raises(UserError, match="there is no file"):
        open_dataset(f"parquet:{folder}/none.parquet,target=y")


def test_samples_without_a_target(files):
    folder, table = files
    source = f"parquet:{folder}/t.parquet,target=y,drop=flag"
    data = open_dataset(source)
    signature = Signature.of(data, source=source)
    pq.write_table(table.select(["day", "city", "zip", "age", "when"]), folder / "n.parquet")
    rows = open_samples(f"parquet:{folder}/n.parquet", signature)
    np.testing.assert_array_equal(rows.parts[0].x, open_rows(source, signature).parts[0].x)


def test_check(files, capsys):
    folder, _ = files
    assert main(["data", "check", f"parquet:{folder}/t.parquet,target=y,categories=zip"]) == 0
    out = capsys.readouterr().out
    assert "t.parquet: Parquet; 200 rows, 7 columns" in " ".join(out.split())
    kinds = {line.split()[0]: line.split()[1] for line in out.splitlines() if len(line.split()) > 2}
    assert [kinds[name] for name in ("city", "age", "when", "zip")] == ["category", "number", "date", "category"]


def test_cells(files):
    folder, table = files
    found = [
        row for rows, _ in reader.ParquetReader(folder / "parts", CsvOptions()).cells(["y", "age"]) for row in rows
    ]
    ages = ["" if age is None else str(age) for age in table["age"].to_pylist()]
    assert found == [list(pair) for pair in zip(table["y"].to_pylist(), ages)]


def test_without_pyarrow(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from mpitrain.cli.main import main\n"
        f"sys.exit(main(['data', 'check', 'parquet:{tmp_path}/t.parquet']))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert "Parquet files are read by pyarrow" in ran.stderr
    assert "pip install 'mpitrain[tables]'" in ran.stderr
