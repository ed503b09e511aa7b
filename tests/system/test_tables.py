"""Tables in other notations, from training to scores, predictions and resumed runs."""

import csv
import random

import pytest

TABLE = ("--model", "mlp", "--widths", 8, "--progress", "none")
OPTIONS = ",target=y,decimal=comma,thousands=point,drop=id,encoding=cp1252"


def write_table(path, rows, seed, text):
    """Write y = 2000 a - b with decimal commas, or with points, and its target at full length."""
    rng = random.Random(seed)
    lines = ["größe;id;a;b;y" if text else "größe,id,a,b,y"]
    for row in range(rows):
        a, b = round(rng.gauss(0, 1), 3), round(rng.gauss(0, 1), 3)
        cells = [f"{row}", f"k{row}", f"{a}", f"{b}", f"{2000 * a - b:,.3f}" if text else f"{2000 * a - b:.3f}"]
        cells = [cell.translate(str.maketrans(",.", ".,")) for cell in cells] if text else cells
        lines.append((";" if text else ",").join(cells))
    path.write_text("\n".join([*lines, ""]), encoding="cp1252")


@pytest.fixture
def run(tmp_path, mpitrain):
    write_table(tmp_path / "train.csv", 80, 3, text=True)
    code, _, err = mpitrain(
        2, *TABLE, "--epochs", 2, "--data", f"csv:train.csv{OPTIONS}", "--out", "run", "--checkpoint-every", 1
    )
    assert code == 0, err
    return tmp_path / "run"


def test_other_files_are_read_as_the_trained_one(run, mpitrain, tmp_path):
    write_table(tmp_path / "comma.csv", 20, 4, text=True)
    write_table(tmp_path / "point.csv", 20, 4, text=False)
    found = []
    for source in ("csv:comma.csv", "csv:point.csv,decimal=point"):
        code, out, err = mpitrain(2, "evaluate", run, "--data", source)
        assert code == 0, err
        (line,) = [line for line in out.splitlines() if "rmse" in line]
        code, _, err = mpitrain(2, "predict", run, "--data", source, "--out", "p.csv", "--force")
        assert code == 0, err
        with open(tmp_path / "p.csv", newline="") as file:
            found.append((line.partition("loss")[2], list(csv.DictReader(file))))
    assert found[0] == found[1]
    assert len(found[0][1]) == 20
    code, _, err = mpitrain(2, "evaluate", run, "--data", "csv:point.csv")
    assert code == 2
    assert "expected numbers" in err or "holds numbers, but also" in err


def test_a_moved_file_is_resumed_as_it_was_read(run, mpitrain, tmp_path):
    (tmp_path / "train.csv").rename(tmp_path / "moved.csv")
    code, _, err = mpitrain(2, "--resume", run, "--epochs", 3, "--data", "csv:moved.csv", "--progress", "none")
    assert code == 0, err
    assert f"csv:moved.csv{OPTIONS}" in (run / "config.toml").read_text()
    code, out, err = mpitrain(2, "evaluate", run)
    assert code == 0, err
    assert "16 of 80" in out


def test_check_shows_columns_and_doubts(mpitrain, tmp_path):
    write_table(tmp_path / "t.csv", 30, 5, text=True)
    code, out, err = mpitrain(1, "data", "check", "csv:t.csv,target=y,encoding=cp1252")
    assert code == 2
    assert "decimal=comma" in out
    assert "decimal=comma" in err
    code, out, err = mpitrain(1, "data", "check", f"csv:t.csv{OPTIONS}")
    assert code == 0, err
    assert "separated by semicolons, CP1252; 30 rows, 5 columns" in out
    assert "column 'größe' holds another integer in every row: an id?" in out


def write_mixed(path, rows, seed, names=("city", "age", "when", "flag", "y")):
    """Write rows with text, missing numbers and dates, whose columns stand in the order of ``names``."""
    rng = random.Random(seed)
    lines = [",".join(names)]
    for row in range(rows):
        cells = {
            "city": rng.choice(["Rome", "Oslo", "", f"village {row}"]),
            "age": rng.choice(["", f"{rng.gauss(40, 9):.1f}"]),
            "when": f"{rng.randrange(1, 29)}.{rng.randrange(1, 13)}.2024",
            "flag": rng.choice(["True", "False"]),
        }
        cells["y"] = "yes" if cells["city"] == "Oslo" else "no"
        lines.append(",".join(cells[name] for name in names))
    path.write_text("\n".join([*lines, ""]))


def test_categories_dates_and_missing_values(mpitrain, tmp_path):
    write_mixed(tmp_path / "t.csv", 400, 1)
    code, _, err = mpitrain(
        2, *TABLE, "--epochs", 10, "--batch-size", 16, "--lr", 0.1, "--data", "csv:t.csv,target=y", "--out", "run",
        "--metrics", "auc", "--class-weights", "balanced", "--checkpoint-every", 1,
    )  # fmt: skip
    assert code == 0, err
    code, out, err = mpitrain(2, "evaluate", "run")
    assert code == 0, err
    assert float(out.split("auc")[1].split()[0]) > 0.95
    found = []
    for names in (("city", "age", "when", "flag", "y"), ("flag", "when", "y", "city", "age")):
        write_mixed(tmp_path / "n.csv", 20, 2, names)
        code, out, err = mpitrain(2, "predict", "run", "--data", "csv:n.csv", "--out", "p.csv", "--force")
        assert code == 0, err
        found.append((tmp_path / "p.csv").read_text())
    assert found[0] == found[1]
    code, _, err = mpitrain(2, "--resume", "run", "--epochs", 11, "--progress", "none")
    assert code == 0, err
