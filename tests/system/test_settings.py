"""Settings of a run as a user gives them: its length, evaluations, early stopping, validation, metrics, weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

FAULTY = (str(Path(__file__).with_name("faulty.py")),)
MLP = ("--model", "mlp", "--batch-size", 100, "--progress", "lines")  # 15 steps an epoch, 13 with 10% to validate
EVERYTHING = (
    *("--steps", 40, "--evaluate-every", 7, "--validation", 0.1, "--metrics", "top5,f1,auc,confusion"),
    *("--class-weights", "balanced", "--optimizer", "adam:lr=0.01,beta2=0.95,eps=1e-6"),
    *("--schedule", "cosine:min_lr=0.001", "--early-stop", "auc:patience=9"),
)


def lines(directory, kind="epoch"):
    found = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def report(directory):
    return json.loads((directory / "report.json").read_text())


def figures(directory):
    return [(e["epoch"], e["step"], e["lr"], e["train"], e["validation"], e["test"]) for e in lines(directory)]


def weights(directory, name="model"):
    return safetensors.numpy.load_file(directory / f"{name}.safetensors")


def test_all_settings_are_resumed_to_the_bit(mpitrain, tmp_path):
    code, out, err = mpitrain(2, *MLP, *EVERYTHING, "--out", "whole")
    assert code == 0, err
    assert [e["step"] for e in lines(tmp_path / "whole")] == [7, 14, 21, 28, 35, 40]
    assert "step 35/40  train loss" in out
    assert "\nconfusion " in out
    for step in (9, 13, 20):  # in the middle of a period, at the end of an epoch, before an evaluation
        cut = f"cut{step}"
        code, out, err = mpitrain(2, "term", 1, step, *MLP, *EVERYTHING, "--out", cut, program=FAULTY)
        assert code == 85, err
        code, out, err = mpitrain(2, "--resume", cut)
        assert code == 0, err
        assert f"resumed after step {step + 1}" in out
        assert figures(tmp_path / cut) == figures(tmp_path / "whole")
        for name in ("model", "best"):
            for tensor, value in weights(tmp_path / "whole", name).items():
                np.testing.assert_array_equal(value, weights(tmp_path / cut, name)[tensor])
        for key in ("test", "best", "validation", "best_validation", "tables", "epochs", "steps"):
            assert report(tmp_path / cut)[key] == report(tmp_path / "whole")[key]
    assert "is finished: there is nothing to resume" in mpitrain(1, "--resume", "whole")[1]


def test_more_steps(mpitrain, tmp_path):
    options = (*MLP, "--schedule", "constant", "--checkpoint-every", 10)
    assert mpitrain(2, *options, "--steps", 20, "--out", "run")[0] == 0
    assert report(tmp_path / "run")["epochs"] == 1
    assert mpitrain(2, "--resume", "run", "--steps", 40)[0] == 0
    assert [e["step"] for e in lines(tmp_path / "run")] == [15, 20, 30, 40]
    assert mpitrain(2, *options, "--steps", 40, "--out", "whole")[0] == 0
    for tensor, value in weights(tmp_path / "whole").items():
        np.testing.assert_array_equal(value, weights(tmp_path / "run")[tensor])
    code, _, err = mpitrain(2, "--resume", "run", "--steps", 30)
    assert code == 2
    assert "--steps is 30, but run/checkpoints/" in err
    assert "was written after step 40: what is done cannot be resumed with fewer" in err
    code, out, err = mpitrain(2, "--resume", "run", "--epochs", 4)  # in place of the steps
    assert code == 0, err
    assert "epoch 4/4  train" in out
    assert report(tmp_path / "run")["steps"] == 60
    assert len(lines(tmp_path / "run", "step")) == 60


def test_every_second_epoch(mpitrain, tmp_path):
    code, out, err = mpitrain(2, *MLP, "--epochs", 5, "--evaluate-every", "2e", "--out", "run")
    assert code == 0, err
    assert [line.split("  ")[0] for line in out.splitlines() if line.startswith("epoch")] == [
        "epoch 2/5",
        "epoch 4/5",
        "epoch 5/5",
    ]
    assert [e["epoch"] for e in lines(tmp_path / "run")] == [2, 4, 5]


def test_a_stop_is_evaluated_where_nothing_is_due(mpitrain, tmp_path):
    code, out, err = mpitrain(2, "interrupt", 0, 9, *MLP, "--evaluate-every", "1000", "--out", "run", program=FAULTY)
    assert code == 0, err
    assert [e["step"] for e in lines(tmp_path / "run")] == [10]
    assert report(tmp_path / "run")["stopped"] is True
    assert "stopped early" in out


def test_early_stopping(mpitrain, tmp_path):
    options = (*MLP, "--validation", 0.1, "--epochs", 30, "--checkpoint-every", 5)
    rule = "loss:patience=2,min_delta=0.02"
    code, out, err = mpitrain(2, *options, "--early-stop", rule, "--out", "run")
    assert code == 0, err
    found, results = report(tmp_path / "run"), lines(tmp_path / "run")
    assert found["early_stop"]["rule"] == rule
    assert found["epochs"] == len(results) < 30
    assert "early stop" in out
    assert "loss has not become better by 0.02 than" in out
    code, out, err = mpitrain(2, "--resume", "run")
    assert code == 0, err
    assert "is finished: there is nothing to resume" in out
    code, out, err = mpitrain(2, "--resume", "run", "--early-stop", "loss:patience=4,min_delta=0.02", "--epochs", 30)
    assert code == 0, err
    assert len(lines(tmp_path / "run")) > len(results)
    assert figures(tmp_path / "run")[: len(results)] == [
        (e["epoch"], e["step"], e["lr"], e["train"], e["validation"], e["test"]) for e in results
    ]


def test_evaluate_by_other_metrics_and_splits(mpitrain, tmp_path):
    options = (*MLP, "--validation", 100, "--epochs", 2, "--metrics", "f1", "--class-weights", "3:2,5:0.5")
    assert mpitrain(3, *options, "--out", "run")[0] == 0
    found = report(tmp_path / "run")
    for arguments, expected in (
        ((), found["test"]),
        (("--split", "validation"), found["validation"]),
        (("--split", "validation", "--weights", "best"), found["best_validation"]),
    ):
        code, out, err = mpitrain(2, "evaluate", "run", "--json", *arguments)
        assert code == 0, err
        scores = json.loads(out)
        for name, value in expected.items():  # the loss with the class weights of the run
            assert scores[name] == pytest.approx(value, rel=1e-4), name
    code, out, err = mpitrain(2, "evaluate", "run", "--json", "--metrics", "topk:k=3,confusion")
    assert code == 0, err
    assert np.trace(json.loads(out)["confusion"]) == round(360 * json.loads(out)["accuracy"])
    assert "top3" in json.loads(out)
    code, _, err = mpitrain(2, "--resume", "run", "--epochs", 3, "--validation", 50, "--checkpoint-every", 3)
    assert code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epochs", 3, "--steps", 5), "--epochs and --steps both say how long the run is: leave one of them out"),
        (("--steps", -1), "--steps is -1, but must be 0 or more"),
        (("--evaluate-every", "1x"), "--evaluate-every is '1x', but must be steps (200) or epochs (2e, 0.5e)"),
        (("--early-stop", "loss"), "--early-stop loss lacks the patience, as in loss:patience=5"),
        (("--early-stop", "f1:patience=2"), "--early-stop watches 'f1', which is not among the scores: there are loss"),
        (("--early-stop", "confusion:patience=2", "--metrics", "confusion"), "'confusion', which is not a number"),
        (("--validation", 1.5), "--validation is 1.5, but must be a share below 1, or a whole number of samples"),
        (("--validation", 5000), "--validation 5000 takes 5,000 of the 1,437 training samples of digits: nothing is"),
        (("--metrics", "acc"), "there is no metric 'acc'"),
        (("--metrics", "mae"), "the metric 'mae' is for regression, and the task is classification"),
        (("--metrics", "nosuch.py:f"), "there is no file nosuch.py"),
        (("--class-weights", "ten:2"), "--class-weights: digits has no class 'ten'; there are 0, 1"),
        (("--optimizer", "adam:beta1=1"), "Adam's beta1 must lie in [0, 1), but it is 1.0"),
        (("--optimizer", "adam:beta=1"), "the optimizer 'adam' has no option 'beta'; did you mean 'beta2'?"),
        (("--schedule", "cosine:min_lr=1"), "the minimum learning rate must lie between 0 and the learning rate 0.05"),
    ],
)
def test_one_sentence(mpitrain, tmp_path, arguments, message):
    code, _, err = mpitrain(2, *MLP, *arguments, "--out", "run")
    assert code == 2
    assert err.startswith("mpitrain: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
