"""Image files as a user trains on them: folders of classes, bad files, evaluation, prediction, resuming."""

import csv
import json

import numpy as np
import pytest

from .small_table import one_sentence

images = pytest.importorskip("PIL.Image")
MODEL = ("--model", "mlp:widths=8", "--optimizer", "adam:lr=0.01", "--batch-size", "8")
CLASSES = ("cat", "dog")


@pytest.fixture
def pets(tmp_path):
    rng = np.random.default_rng(9)
    for number in range(40):
        path = tmp_path / "pets" / CLASSES[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (20 + number % 3, 24, 3)
        pixels = rng.integers(0, 100, size) + 150 * (np.arange(3) == number % 2)
        images.fromarray(pixels.astype(np.uint8)).save(path)
    return tmp_path


@pytest.fixture
def run(mpitrain, pets):
    """Return a function that runs a command with a cache of its own."""
    environment = {"MPITRAIN_IMAGES": str(pets / "cache")}
    return lambda ranks, *arguments: mpitrain(ranks, *arguments, environment=environment)


def report(path):
    return json.loads((path / "report.json").read_text())


def test_train_evaluate_and_predict(run, pets):
    code, out, err = run(2, "train", "--data", "images:pets,size=8", *MODEL, "--epochs", "6", "--out", "run")
    assert code == 0, err
    assert "pets: 32 training and 8 test samples, 8 x 8 x 3 -> 2 classes" in out
    whole = report(pets / "run")["test"]
    assert whole["accuracy"] == 1
    code, _, err = run(3, "train", "--data", "images:pets,size=8", *MODEL, "--epochs", "6", "--out", "three")
    assert code == 0, err
    assert report(pets / "three")["test"]["loss"] == pytest.approx(whole["loss"], abs=1e-4)
    assert len(list((pets / "cache").iterdir())) == 1

    code, out, err = run(2, "evaluate", "run", "--json")
    assert code == 0, err
    assert json.loads(out)["loss"] == pytest.approx(whole["loss"], abs=1e-5)
    (pets / "new").mkdir()
    (pets / "pets" / "dog" / "1.jpg").rename(pets / "new" / "a, b.jpg")
    (pets / "pets" / "cat" / "0.jpg").rename(pets / "new" / "c.jpg")
    code, out, err = run(2, "predict", "run", "--data", "images:new")
    assert code == 0, err
    rows = list(csv.DictReader((pets / "predictions.csv").open()))
    assert [(row["file"], row["class"]) for row in rows] == [("a, b.jpg", "dog"), ("c.jpg", "cat")]
    code, out, err = run(2, "evaluate", "run", "--data", "images:pets", "--json")
    assert code == 0, err
    assert (json.loads(out)["samples"], json.loads(out)["split"]) == (38, "all")


def test_bad_files(run, pets):
    for name in ("cat/2.jpg", "dog/3.jpg"):
        path = pets / "pets" / name
        path.write_bytes(path.read_bytes()[:400])
    code, _, err = run(2, "train", "--data", "images:pets,size=8", *MODEL, "--epochs", "1")
    assert code == 2
    assert one_sentence(err).startswith("images:pets: 2 of 40 files cannot be decoded, pets/cat/2.jpg (")
    code, out, err = run(2, "train", "--data", "images:pets,size=8,bad=skip", *MODEL, "--epochs", "1", "--out", "run")
    assert code == 0, err
    assert "2 of 40 files cannot be decoded" in " ".join(out.split())
    code, out, err = run(1, "data", "check", "images:pets,size=8")
    assert code == 2
    assert "38 JPEG RGB" in out
    assert "! pets/cat/2.jpg: " in out


def test_an_interrupted_run_ends_as_if_it_had_not_been(run, pets):
    common = (
        "train",
        "--data",
        "images:pets,size=8",
        *MODEL,
        "--schedule",
        "constant",
        "--flip",
        "--validation",
        "0.2",
    )
    code, _, err = run(2, *common, "--epochs", "3", "--out", "whole")
    assert code == 0, err
    code, _, err = run(2, *common, "--steps", "7", "--checkpoint-every", "3", "--out", "run")
    assert code == 0, err
    code, _, err = run(3, *common, "--epochs", "3", "--resume", "run")
    assert code == 0, err
    scores = [report(pets / name)["test"]["loss"] for name in ("whole", "run")]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
