"""Runs evaluated, predicted with or resumed on other data: matched by name, or refused in one sentence."""

import csv
import json
import os
import re

import numpy as np
import pytest

from .small_table import SOURCE, TABLE, one_sentence, write_table


def scores(mpitrain, *arguments, ranks=2):
    code, out, err = mpitrain(ranks, "evaluate", *arguments, "--json")
    assert code == 0, err
    return json.loads(out), err


def test_every_row_of_other_data_by_name(mpitrain, run, tmp_path):
    whole, err = scores(mpitrain, "run", "--data", SOURCE)
    assert (whole["samples"], whole["total"], whole["split"]) == (60, 60, "all")
    assert "these are the run's own data" in err
    write_table(tmp_path / "other.csv", columns=("b", "id", "a"))
    found, err = scores(mpitrain, "run", "--data", "csv:other.csv", ranks=3)
    assert found == pytest.approx(whole)
    assert err.count("mpitrain: other.csv: column 'id' is not among the model's, and ignored") == 1
    # the accuracy by hand, from what predict writes of each row
    assert mpitrain(2, "predict", "run", "--data", "csv:other.csv")[0] == 0
    predicted = [row["class"] for row in csv.DictReader((tmp_path / "predictions.csv").open())]
    true = [row["y"] for row in csv.DictReader((tmp_path / "other.csv").open())]
    assert whole["accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(predicted, true, strict=True)]))

    lines = (tmp_path / "train.csv").read_text().splitlines(keepends=True)
    for k in (1, 2):  # files of a single row
        (tmp_path / "one.csv").write_text(lines[0] + lines[k])
        found, _ = scores(mpitrain, "run", "--data", "csv:one.csv", ranks=k)
        assert (found["samples"], found["total"]) == (1, 1)
        assert found["accuracy"] == (predicted[k - 1] == true[k - 1])
    code, out, _ = mpitrain(2, "evaluate", "run", "--data", "csv:one.csv")
    assert (code, "one, 1 of 1 sample (whole file): loss " in out) == (0, True)
    (tmp_path / "class.csv").write_text("".join([lines[0], *(line for line in lines if line.endswith(",p\n"))]))
    found, _ = scores(mpitrain, "run", "--data", "csv:class.csv")
    assert found["accuracy"] == pytest.approx(np.mean([a == "p" for a, b in zip(predicted, true) if b == "p"]))


def test_the_splits_of_a_run_add_up(mpitrain, run):
    parts = {split: scores(mpitrain, "run", "--split", split)[0] for split in ("test", "train", "all")}
    assert [parts[split]["samples"] for split in ("test", "train", "all")] == [12, 48, 60]
    assert {part["total"] for part in parts.values()} == {60}
    for name in ("loss", "accuracy"):
        assert parts["all"][name] == pytest.approx((12 * parts["test"][name] + 48 * parts["train"][name]) / 60)
    code, out, _ = mpitrain(1, "evaluate", "run")
    assert (code, out.startswith("train, 12 of 60 samples (test split): loss ")) == (0, True)
    report = json.loads((run / "report.json").read_text())
    assert parts["test"]["loss"] == pytest.approx(report["test"]["loss"])


@pytest.mark.parametrize(
    ("columns", "classes", "source", "said"),
    [
        (("a", "B"), "np", "csv:x.csv", "x.csv lacks column 'b', which the model was trained on (did you mean 'B'?)"),
        (
            ("a", "b"),
            "nq",
            "csv:x.csv",
            "x.csv has a class that the model does not know: 'q' (line 3); it knows",
        ),
        (("a", "b"), "np", "csv:x.csv,target=b", "the model predicts 'y', but the target of x.csv is 'b'"),
    ],
)
def test_data_that_do_not_fit_the_model(mpitrain, run, tmp_path, columns, classes, source, said):
    write_table(tmp_path / "x.csv", columns, classes)
    code, out, err = mpitrain(2, "evaluate", "run", "--data", source)
    assert (code, out) == (2, "")
    assert one_sentence(err).startswith(said)


def test_a_file_without_the_target(mpitrain, run, tmp_path):
    text = (tmp_path / "train.csv").read_text().replace(",y\n", ",z\n")
    (tmp_path / "x.csv").write_text(text)
    code, _, err = mpitrain(2, "evaluate", "run", "--data", "csv:x.csv")
    assert code == 2
    assert one_sentence(err).startswith("x.csv has no column 'y', which the model predicts")
    assert mpitrain(2, "predict", "run", "--data", "csv:x.csv")[0] == 0


def test_rows_in_another_order_are_other_test_samples(mpitrain, run, tmp_path):
    head, *rows = (tmp_path / "train.csv").read_text().splitlines(keepends=True)
    (tmp_path / "train.csv").write_text("".join([head, *sorted(rows)]))
    code, _, err = mpitrain(2, "evaluate", "run")
    assert code == 0
    assert "train.csv,target=y is no longer as it was for training (the training samples differ)" in err


def test_bytes_and_fractions(mpitrain, tmp_path):
    assert mpitrain(2, "--model", "mlp", "--epochs", 1, "--progress", "none", "--out", "run")[0] == 0
    from mpitrain.data import open_dataset

    test = open_dataset("digits").test
    x = test.x.astype(np.float32)
    np.savez(tmp_path / "scaled.npz", x=x / x.max(), y=test.y)
    np.savez(tmp_path / "float.npz", x=x, y=test.y)
    for command in (["evaluate", "run"], ["predict", "run", "--out", "p.csv"]):
        code, _, err = mpitrain(2, *command, "--data", "npz:scaled.npz")
        assert code == 0, err
        assert (
            err.count("samples have float32 values from 0 to 1, but the model was trained on uint8 from 0 to 16") == 1
        )
    code, _, err = mpitrain(1, *command, "--data", "npz:float.npz")
    assert err.count("samples are float32, but the model was trained on uint8: is the scale the same?") == 1
    code, _, err = mpitrain(1, *command, "--data", "digits")
    assert (code, "scale" in err) == (0, False)


@pytest.fixture
def cut(table, mpitrain):
    code, _, err = mpitrain(2, *TABLE, "--data", SOURCE, "--out", "cut", "--checkpoint-every", 1)
    assert code == 0, err
    return table.parent / "cut"


def test_resuming_with_other_data(mpitrain, cut, tmp_path):
    write_table(tmp_path / "train.csv", classes=("n", "A-pos"))
    more = ("--resume", "cut", "--epochs", 3)
    code, _, err = mpitrain(2, *more)
    assert code == 2
    said = one_sentence(err)
    assert said.startswith("the data are not those that cut/checkpoints/step-")
    assert "class 0 was 'n' and is now 'A-pos'; --allow-changed-data continues with other data" in said
    write_table(tmp_path / "train.csv", swapped=(3,))
    code, _, err = mpitrain(2, *more)
    assert code == 2
    assert re.search(r"the contents of the training (samples|targets) differ; --allow", one_sentence(err))
    write_table(tmp_path / "train.csv", rows=50)
    code, _, err = mpitrain(3, *more)
    assert (code, "there were 48 training samples and are now 40" in one_sentence(err)) == (2, True)
    code, _, err = mpitrain(2, *more, "--allow-changed-data")
    assert code == 0, err
    assert "resumed with changed data: there were 48 training samples and are now 40" in err
    assert json.loads((cut / "report.json").read_text())["epochs"] == 3


def test_resuming_finds_columns_by_name(mpitrain, cut, tmp_path):
    write_table(tmp_path / "train.csv", columns=("b", "new", "a"))
    code, out, err = mpitrain(2, "--resume", "cut", "--epochs", 3, "--progress", "lines")
    assert code == 0, err
    assert "column 'new' is not among the model's, and ignored" in out
    write_table(tmp_path / "train.csv", columns=("a", "c"))
    code, _, err = mpitrain(2, "--resume", "cut", "--epochs", 4)
    assert code == 2
    assert one_sentence(err).endswith("train.csv has no column 'b'; its columns are 'a', 'c', 'y'")


def test_a_checkpoint_of_an_older_version(mpitrain, cut, tmp_path):
    """Without a fingerprint, names and statistics are compared all the same."""
    from mpitrain.training.checkpoint import Checkpoint

    for path in (cut / "checkpoints").iterdir():
        forget_data(path, Checkpoint(path))
    assert Checkpoint(path).metadata["class_names"] == ["n", "p"]
    assert mpitrain(2, "--resume", "cut", "--epochs", 3)[0] == 0
    for path in (cut / "checkpoints").iterdir():
        forget_data(path, Checkpoint(path))
    write_table(tmp_path / "train.csv", seed=6)
    code, _, err = mpitrain(2, "--resume", "cut", "--epochs", 4)
    assert code == 2
    assert "the mean of column 'a' was " in one_sentence(err)


def forget_data(path, checkpoint):
    """Write a checkpoint again without the entry ``data`` of its metadata."""
    from mpitrain.training.checkpoint.layout import make_header

    facts = {name: value for name, value in checkpoint.metadata.items() if name != "data"}
    data = path.read_bytes()[checkpoint._begin :]
    sums = {name: value for name, value in checkpoint._sums.items() if name}
    path.write_bytes(make_header(list(checkpoint.tensors.values()), json.dumps(facts), sums) + data)


def test_from_another_directory(mpitrain, run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    change = f"import os, sys; os.chdir({str(tmp_path / 'elsewhere')!r})"
    go = ("-c", f"{change}; from mpitrain.cli.main import main; sys.exit(main())")
    here, _ = scores(mpitrain, "run")
    code, out, err = mpitrain(2, "evaluate", "../run", "--json", program=go)
    assert code == 0, err
    assert json.loads(out) == pytest.approx(here)
    (tmp_path / "train.csv").rename(tmp_path / "gone.csv")
    code, _, err = mpitrain(2, "evaluate", "../run", program=go)
    assert code == 2
    assert one_sentence(err) == (
        f"{SOURCE}: there is neither {tmp_path}/train.csv nor {tmp_path}/elsewhere/train.csv: say where the data are "
        "with --data"
    )


def test_names_that_are_not_utf_8(mpitrain, table, tmp_path):
    os.rename(table, os.fsencode(tmp_path) + b"/caf\xe9\x7f.csv")
    data, out = os.fsdecode(b"csv:caf\xe9\x7f.csv,target=y"), os.fsdecode(b"r\xff")
    options = (*TABLE, "--checkpoint-every", 1, "--data", data, "--out", out)
    code, _, err = mpitrain(2, *options)
    assert code == 0, err
    code, _, err = mpitrain(2, "evaluate", out, "--json")
    assert code == 0, err
    code, _, err = mpitrain(2, "--resume", out, "--epochs", 3)
    assert code == 0, err
    code, _, err = mpitrain(2, "--config", os.path.join(out, "config.toml"), "--out", "again")
    assert code == 0, err


def test_predictions_are_not_written_over(mpitrain, run, tmp_path):
    data = ("--data", "csv:train.csv")
    assert mpitrain(2, "predict", "run", *data)[0] == 0
    (tmp_path / "predictions.csv").write_text("mine")
    code, _, err = mpitrain(2, "predict", "run", *data)
    assert (code, "predictions.csv exists already: write over it with --force" in one_sentence(err)) == (2, True)
    assert (tmp_path / "predictions.csv").read_text() == "mine"
    code, out, _ = mpitrain(2, "predict", "run", *data, "--force")
    assert (code, out) == (0, "60 predictions for train in predictions.csv\n")
    assert mpitrain(2, "predict", "run", *data, "--out", "predictions.csv")[0] == 0
    (tmp_path / "one.csv").write_text("a,b\n1,2\n")
    code, out, _ = mpitrain(2, "predict", "run", "--data", "csv:one.csv", "--out", "one.npz")
    assert (code, out) == (0, "1 prediction for one in one.npz\n")
