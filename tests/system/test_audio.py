"""Sound files as a user trains on them: classes of folders, bad files, evaluation, prediction."""

import csv
import json

import pytest

from tests.sounds import write_tone, write_tones

from .small_table import one_sentence

MODEL = ("--model", "audio-convnet:channels=4+8,width=16", "--optimizer", "adam:lr=0.01", "--batch-size", "8")
SOURCE = "audio:tones,rate=8000,seconds=0.3,mels=16"
MASKS = ("--augment", "time-mask:width=5,frequency-mask:width=3,mixup")


@pytest.fixture
def run(mpitrain, tmp_path):
    """Return a function that runs a command with a cache of its own."""
    write_tones(tmp_path / "tones")
    return lambda ranks, *arguments: mpitrain(
        ranks, *arguments, environment={"MPITRAIN_AUDIO": str(tmp_path / "cache")}
    )


def report(path):
    return json.loads((path / "report.json").read_text())


def test_train_evaluate_and_predict(run, tmp_path):
    code, out, err = run(2, "train", "--data", SOURCE, *MODEL, *MASKS, "--epochs", "4", "--out", "run")
    assert code == 0, err
    assert "tones: 32 training and 8 test samples, 28 x 16 x 1 -> 2 classes" in out
    whole = report(tmp_path / "run")["test"]
    assert whole["accuracy"] == 1
    code, _, err = run(2, "evaluate", "run", "--json")
    assert code == 0, err
    write_tone(tmp_path / "new" / "a.wav", 1500, 77, rate=11025)
    write_tone(tmp_path / "new" / "b.wav", 400, 78)
    code, _, err = run(2, "predict", "run", "--data", "audio:new")
    assert code == 0, err
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    assert [(row["file"], row["class"]) for row in rows] == [("a.wav", "high"), ("b.wav", "low")]


def test_bad_files(run, tmp_path):
    path = tmp_path / "tones" / "low" / "3.wav"
    path.write_bytes(path.read_bytes()[:1000])
    code, _, err = run(2, "train", "--data", SOURCE, *MODEL, "--epochs", "1")
    assert code == 2
    assert one_sentence(err).startswith(
        "audio:tones: 1 of 40 files cannot be decoded, tones/low/3.wav (it is cut off: "
    )
    code, out, _ = run(1, "data", "check", SOURCE)
    assert code == 2
    assert "39 WAV 16 bits mono" in out
