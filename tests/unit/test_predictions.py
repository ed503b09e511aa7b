import csv
import io
import itertools
import math

import numpy as np
import pytest

from mpitrain.cli.predict import check_out
from mpitrain.data.matching.signature import Signature
from mpitrain.data.normalize import Normalizer
from mpitrain.errors import UserError
from mpitrain.training.directory.trained_model import TrainedModel
from mpitrain.training.prediction.ensemble import make_members, mean_outputs
from mpitrain.training.prediction.files import CsvFile, NpzFile, write_columns

LABELS = ["plain", "a,b", 'say "hi"', "two\nlines", "cr\ronly", " blank before", "", "0123", "ü 😀", "\udcff", "a;b"]


def read(path):
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    return list(csv.reader(io.StringIO(text, newline="")))


def test_text_comes_back_as_it_was(tmp_path):
    columns = {"class": np.array(LABELS), "p(a,b)": np.linspace(0, 1, len(LABELS), dtype=np.float32)}
    write_columns(tmp_path / "p.csv", columns, 9)
    header, *rows = read(tmp_path / "p.csv")
    assert header == list(columns)
    assert [row[0] for row in rows] == LABELS
    assert (tmp_path / "p.csv").read_bytes().count(b"\r") == 1


def test_float32_comes_back_to_the_bit(tmp_path):
    rng = np.random.default_rng(11)
    values = rng.integers(0, 2**32, 10_000, dtype=np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    write_columns(tmp_path / "p.csv", {"v": values}, 9)
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
    write_columns(tmp_path / "p.npz", columns, 9)
    found = np.load(tmp_path / "p.npz")
    for name, column in columns.items():
        np.testing.assert_array_equal(found[name], column)


def test_pieces_make_one_file(tmp_path):
    rng = np.random.default_rng(5)
    columns = {
        "class": rng.choice(np.array(["a", "long name"]), 50),
        "p": rng.random(50, np.float32),
        "map": rng.integers(0, 9, (50, 2, 3), np.int8),
    }
    cuts = [0, 7, 7, 30, 50]
    with NpzFile(tmp_path / "p.npz", {"names": np.array(["x"])}) as file:
        for k, (start, stop) in enumerate(itertools.pairwise(cuts)):
            file.take(file.encode({name: column[start:stop] for name, column in columns.items()}, first=k == 0))
        assert not (tmp_path / "p.npz").exists()
        file.finish()
    found = np.load(tmp_path / "p.npz")
    assert found["names"].tolist() == ["x"]
    for name, column in columns.items():
        np.testing.assert_array_equal(found[name], column)
        assert found[name].dtype == column.dtype
    del columns["map"]
    with CsvFile(tmp_path / "p.csv", 9) as text:
        for k, (start, stop) in enumerate(itertools.pairwise(cuts)):
            text.take(text.encode({name: column[start:stop] for name, column in columns.items()}, first=k == 0))
        text.finish()
    write_columns(tmp_path / "whole.csv", columns, 9)
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert len(list(tmp_path.iterdir())) == 3  # nothing temporary is left


@pytest.mark.parametrize("kind", [lambda path: CsvFile(path, 9), NpzFile])
def test_a_file_that_is_not_finished_leaves_nothing(tmp_path, kind):
    with kind(tmp_path / "p") as file:
        file.take(file.encode({"a": np.ones(3)}, first=True))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [lambda path: CsvFile(path, 9), NpzFile])
def test_a_directory_that_is_gone(tmp_path, kind):
    with pytest.raises(UserError, match=r"cannot write .*No such file"), kind(tmp_path / "none" / "p"):
        pass


def member(task, classes, normalizer=None, num_outputs=3):
    run = TrainedModel.__new__(TrainedModel)
    run.signature = Signature(task, (2,), num_outputs, classes)
    run.target_normalizer = normalizer
    return run


def test_average_of_probabilities():
    rng = np.random.default_rng(6)
    logits = rng.normal(size=(2, 5, 3)) * 4
    runs = [member("classification", ("a", "b", "c")), member("classification", ("c", "a", "b"))]
    members = make_members(runs, ["r", "s"])
    found = mean_outputs(members, [logits[0], logits[1][:, [2, 0, 1]]])
    softmax = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(np.exp(found), softmax.mean(axis=0), rtol=1e-6)


def test_average_of_values():
    normalizers = [Normalizer(np.array([5.0]), np.array([2.0])), Normalizer(np.array([-1.0]), np.array([0.5]))]
    members = make_members([member("regression", (), one, 1) for one in normalizers], ["r", "s"])
    values = np.array([[3.0], [4.0]]), np.array([[5.0], [-8.0]])
    outputs = [(value - one.mean) / one.std for value, one in zip(values, normalizers)]
    found = normalizers[0].inverse(mean_outputs(members, outputs))
    np.testing.assert_allclose(found, [[4.0], [-2.0]])


def test_runs_that_have_no_average():
    first = member("classification", ("a", "b"), num_outputs=2)
    for other, text in (
        (member("regression", (), num_outputs=2), "r is for classification and s for regression"),
        (member("classification", ("a", "c"), num_outputs=2), "r and s do not know the same classes"),
        (member("language-modeling", ()), "runs that predict tokens are not averaged"),
    ):
        with pytest.raises(UserError, match=text):
            make_members([first, other], ["r", "s"])
