"""Predictions as a user makes them: files in pieces, several ranks, several runs, damage in the middle."""

import csv

import numpy as np
import pytest

from .small_table import one_sentence

ROWS = 3000


def write_rows(path, bad=None):
    rng = np.random.default_rng(8)
    lines = [f"{a:.6f},{b:.6f}" for a, b in rng.normal(size=(ROWS, 2))]
    if bad is not None:
        lines[bad] = "1,x"
    path.write_text("\n".join(["first,second", *lines, "", ""]))


@pytest.fixture
def runs(mpitrain, tmp_path):
    rng = np.random.default_rng(7)
    with (tmp_path / "t.csv").open("w") as file:
        file.write("second,first,y\n")
        for a, b in rng.normal(size=(200, 2)):
            file.write(f"{a:.6f},{b:.6f},{'up' if a > b else 'down'}\n")
    for seed in ("1", "2"):
        code, _, err = mpitrain(
            2, "train", "--data", "csv:t.csv,target=y", "--model", "mlp:widths=8", "--epochs", "2", "--seed", seed,
            *("--out", f"run{seed}", "--progress", "none"),
        )  # fmt: skip
        assert code == 0, err
    return tmp_path


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_same_bytes_on_any_number_of_ranks(mpitrain, runs):
    write_rows(runs / "x.csv")
    for ranks in (1, 3):
        code, out, err = mpitrain(ranks, "predict", "run1", "--data", "csv:x.csv", "--out", f"p{ranks}.csv")
        assert code == 0, err
        assert out == f"3,000 predictions for x in p{ranks}.csv\n"
        assert err == ""
    assert (runs / "p1.csv").read_bytes() == (runs / "p3.csv").read_bytes()
    rows = read(runs / "p1.csv")
    assert len(rows) == ROWS
    code, _, err = mpitrain(2, "predict", "run1", "--data", "csv:x.csv", "--mesh", "tensor=2", "--out", "divided.csv")
    assert code == 0, err
    for one, other in zip(rows, read(runs / "divided.csv"), strict=True):
        assert float(one["p(up)"]) == pytest.approx(float(other["p(up)"]), abs=1e-5)

    code, out, err = mpitrain(2, "predict", "run1", "run2", "--data", "csv:x.csv", "--out", "mean.csv")
    assert code == 0, err
    code, _, err = mpitrain(2, "predict", "run2", "--data", "csv:x.csv", "--out", "p2.csv")
    assert code == 0, err
    for one, other, mean in zip(rows, read(runs / "p2.csv"), read(runs / "mean.csv"), strict=True):
        expected = (float(one["p(up)"]) + float(other["p(up)"])) / 2
        assert float(mean["p(up)"]) == pytest.approx(expected, abs=1e-6)
    code, out, err = mpitrain(2, "evaluate", "run1", "run2", "--data", "csv:t.csv", "--metrics", "auc")
    assert code == 0, err
    assert out.startswith("average of 2 runs, t, 200 of 200 samples (whole file): loss ")


@pytest.mark.parametrize("ranks", [1, 3])
def test_damage_far_down_is_named_by_its_line(mpitrain, runs, ranks):
    write_rows(runs / "x.csv", bad=2500)
    code, out, err = mpitrain(ranks, "predict", "run1", "--data", "csv:x.csv", "--out", "p.csv")
    assert code == 2
    assert "'x' on line 2502" in one_sentence(err)
    assert out == ""
    assert not [path for path in runs.iterdir() if "p.csv" in path.name]


def test_runs_and_files_that_do_not_go_together(mpitrain, runs):
    code, _, err = mpitrain(1, "predict", "--data", "digits")
    assert code == 2
    assert "say which run" in one_sentence(err)
    code, _, err = mpitrain(2, "evaluate", "run1", "run2", "--mesh", "tensor=2")
    assert code == 2
    assert "--mesh divides the model of one run" in one_sentence(err)
    code, _, err = mpitrain(2, "predict", "run1", "--data", "csv:t.csv", "--out", "none/p.csv")
    assert code == 2
    assert "no such directory" in one_sentence(err)
