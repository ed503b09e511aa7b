"""Whole measurements of scaling, on one and two ranks."""

import csv
import subprocess
import sys

from .conftest import ENVIRONMENT


def scale(folder, *options):
    command = [sys.executable, "-m", "mpitrain", "scale", *map(str, options)]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=90)


def test_one_and_two_ranks(tmp_path):
    done = scale(
        tmp_path, "--ranks", "1,2", "--steps", 10, "--repeat", 1, "--all-reduce", "ring", "-o", "a.csv", "a.html"
    )
    assert done.returncode == 0, done.stderr
    rows = [row for row in csv.DictReader((tmp_path / "a.csv").open()) if row["kind"] == "measured"]
    assert [(row["ranks"], row["batch"]) for row in rows] == [("1", "64"), ("2", "64")]
    assert all(float(row["compute"]) > 0 for row in rows)
    assert float(rows[1]["messages"]) > 0
    assert float(rows[1]["predicted_compute"]) > 0
    assert (
        "convnet on digits: strong scaling, batch 64, 1 thread a rank; median of 1 training of 10 steps" in done.stdout
    )
    assert "</html>" in (tmp_path / "a.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.html"]  # no run is written


def test_a_training_that_fails(tmp_path):
    done = scale(tmp_path, "--ranks", "1,2", "--data", "csv:none.csv,target=x")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("mpitrain: the training on 1 rank failed: csv:none.csv: there is no")
    assert done.stdout == ""
