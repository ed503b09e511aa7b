import csv
import io
import math

import numpy as np
import pytest

from mpitrain.cli.predict import check_out, write_predictions
from mpitrain.data.normalize import Normalizer
from mpitrain.errors import UserError
from mpitrain.training.directory.trained_model import TrainedModel

LABELS = ["plain", "a,b", 'say "hi"', "two\nlines", "cr\ronly", " blank before", "", "0123", "ü 😀", "\udcff", "a;b"]


def read(path):
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    return list(csv.reader(io.StringIO(text, newline="")))


def test_text_comes_back_as_it_was(tmp_path):
    columns = {"class": np.array(LABELS), "p(a,b)": np.linspace(0, 1, len(LABELS), dtype=np.float32)}
    write_predictions(tmp_path / "p.csv", columns, 9)
    header, *rows = read(tmp_path / "p.csv")
    assert header == list(columns)
    assert [row[0] for row in rows] == LABELS
    assert (tmp_path / "p.csv").read_bytes().count(b"\r") == 1


def test_float32_comes_back_to_the_bit(tmp_path):
    rng = np.random.default_rng(11)
    values = rng.integers(0, 2**32, 10_000, dtype=np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    write_predictions(tmp_path / "p.csv", {"v": values}, 9)
    found = np.array([row[0] for row in read(tmp_path / "p.csv")[1:]], np.float64).astype(np.float32)
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("mean", "std", "digits"),
    [(0.0, 1.0, 9), (-5.0, 10.0, 9), (1.7e9, 10.0, 18), (1000.0, 1.0, 12), (1e20, 1.0, 17), (3.0, 1e-3, 13)],
)
def test_digits_of_an_offset(mean, std, digits):
    run = TrainedModel.__new__(TrainedModel)
    run.target_normalizer = Normalizer(np.array([0.0, mean]), np.array([1.0, std]))
    assert run.digits == min(digits, 17)
    outputs = np.float32([0.1, np.nextafter(np.float32(0.1), np.float32(1))]).astype(np.float64)
    texts = [f"{mean + std * value:.{run.digits}g}" for value in outputs]
    if digits < 16:  # beyond, float64 itself cannot tell them apart
        assert texts[0] != texts[1]
    run.target_normalizer = None
    assert run.digits == 9


def test_files_that_are_not_written_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out, samples = tmp_path / "predictions.csv", tmp_path / "in.csv"
    samples.write_text("a\n1\n")
    check_out(out, "csv:in.csv", overwrite=False)
    out.write_text("mine")
    with pytest.raises(UserError, match=r"predictions.csv exists already: write over it with --force, or name"):
        check_out(out, "csv:in.csv", overwrite=False)
    check_out(out, "csv:in.csv", overwrite=True)
    with pytest.raises(UserError, match="is the file that holds the samples"):
        check_out(samples, "csv:in.csv,target=a", overwrite=True)
    with pytest.raises(UserError, match="no such directory"):
        check_out(tmp_path / "none" / "p.csv", "digits", overwrite=True)
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(UserError, match="it is a directory"):
        check_out(tmp_path / "d.csv", "digits", overwrite=True)


def test_arrays(tmp_path):
    columns = {"class": np.array(["a"]), "p(a)": np.float32([1 / 3]), "x": np.array([math.pi])}
    write_predictions(tmp_path / "p.npz", columns, 9)
    found = np.load(tmp_path / "p.npz")
    for name, column in columns.items():
        np.testing.assert_array_equal(found[name], column)
