"""Ranks are lost, the others finish: under Open MPI's mpirun --with-ft ulfm; elsewhere the job ends."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from mpitrain.training.checkpoint import Checkpoint

from .conftest import OPEN_MPI

FAULTS = Path(__file__).parent.parent / "faults"
sys.path.insert(0, str(FAULTS))
import campaign  # noqa: E402

elastic_only = pytest.mark.skipif(not OPEN_MPI, reason="only Open MPI lets ranks survive")
OPTIONS = ("--model", "mlp", "--epochs", 3, "--out", "run", "--progress", "none", "--elastic", "--timeout", 5)


def doomed(mpitrain, tmp_path, ranks, fault, *options):
    program, environment = (str(FAULTS / "doomed.py"), json.dumps(fault)), {"DEALT": str(tmp_path / "dealt")}
    launcher = ("--with-ft", "ulfm") if OPEN_MPI else ()
    return mpitrain(ranks, *OPTIONS, *options, program=program, environment=environment, launcher=launcher)


@elastic_only
@pytest.mark.parametrize(
    ("lost", "point", "call"),
    [
        *[([2], "step", 30), ([1, 3], "backward", 51), ([3], "update", 30)],  # while computing
        *[([0], "wait", 30), ([2], "poll", 60), ([0, 1, 2], "start", 40)],  # in an all-reduce
        *[([1], "evaluate", 1), ([1], "sum", 3), ([2], "gather", 30)],  # in other collectives
        *[([2], "write", 3), ([0], "write", 3), ([0, 3], "write", 5)],  # in a checkpoint
    ],
)
def test_the_others_finish_what_was_begun(mpitrain, tmp_path, lost, point, call):
    fault = {"kind": "kill", "ranks": lost, "point": point, "call": call}
    _, _, err = doomed(mpitrain, tmp_path, 4, fault, "--checkpoint-every", 7)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["ranks"] == 4 - len(lost), err
    assert sorted(rank for loss in report["losses"] for rank in loss["ranks"]) == lost
    epochs = campaign.used(tmp_path / "dealt")
    assert [sorted(epochs[e]) for e in (1, 2, 3)] == [list(range(campaign.SAMPLES))] * 3
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "epoch"] == [1, 2, 3]
    checkpoints = list((tmp_path / "run" / "checkpoints").iterdir())
    assert len(checkpoints) == 2
    for path in checkpoints:
        Checkpoint(path).verify()
    assert not list((tmp_path / "run").glob("*owner*"))


@elastic_only
def test_compressed_gradients_and_shares_by_speed_survive(mpitrain, tmp_path):
    fault = {"kind": "kill", "ranks": [1], "point": "poll", "call": 60}
    _, _, err = doomed(mpitrain, tmp_path, 3, fault, "--compress", "int8", "--balance", "auto")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["ranks"] == 2, err
    assert "of int8" in report["all_reduce"]
    epochs = campaign.used(tmp_path / "dealt")
    assert [sorted(epochs[e]) for e in (1, 2, 3)] == [list(range(campaign.SAMPLES))] * 3


@elastic_only
@pytest.mark.parametrize(
    ("lost", "point", "call"), [([1], "evaluate", 1), ([0], "evaluate", 4), ([2], "sum", 4), ([1, 2], "wait", 22)]
)
def test_each_evaluation_within_an_epoch_is_made_once(mpitrain, tmp_path, lost, point, call):
    options = ("--evaluate-every", 10, "--early-stop", "loss:patience=99", "--metrics", "auc")
    fault = {"kind": "kill", "ranks": lost, "point": point, "call": call}
    _, _, err = doomed(mpitrain, tmp_path, 4, fault, *options)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["ranks"] == 4 - len(lost), err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "epoch"] == [*range(10, 69, 10), 69]
    if 0 in lost:  # with it go the lines of steps that it has not written yet
        return
    steps = {line["step"]: line["loss"] for line in lines if line["kind"] == "step"}
    assert sorted(steps) == list(range(1, 70))
    samples = [min(64, 1437 - 64 * ((step - 1) % 23)) for step in range(1, 70)]
    begin = 0
    for line in lines:
        if line["kind"] == "epoch":  # the mean over the steps since the evaluation before, none left out or used twice
            part = range(begin + 1, line["step"] + 1)
            mean = sum(steps[s] * samples[s - 1] for s in part) / sum(samples[s - 1] for s in part)
            assert line["train"]["loss"] == pytest.approx(mean, rel=1e-5)
            begin = line["step"]


@elastic_only
def test_it_is_the_same_training_as_without_a_loss(mpitrain, tmp_path):
    doomed(mpitrain, tmp_path, 3, {"kind": "kill", "ranks": [1], "point": "wait", "call": 33})
    with_loss = json.loads((tmp_path / "run" / "report.json").read_text())
    shutil.rmtree(tmp_path / "run")
    doomed(mpitrain, tmp_path, 2, None)
    without = json.loads((tmp_path / "run" / "report.json").read_text())
    assert with_loss["test"]["loss"] == pytest.approx(without["test"]["loss"], rel=1e-3)


@elastic_only
def test_a_rank_that_is_stopped_is_killed_and_gone_without(mpitrain, tmp_path):
    _, _, err = doomed(mpitrain, tmp_path, 3, {"kind": "stop", "ranks": [0], "point": "step", "call": 30})
    assert "rank 0 is stopped by a signal (SIGSTOP)" in err
    assert json.loads((tmp_path / "run" / "report.json").read_text())["ranks"] == 2


@pytest.mark.skipif(OPEN_MPI, reason="Open MPI survives lost ranks: the tests above")
def test_elsewhere_the_job_ends_and_says_so_before(mpitrain, tmp_path):
    options = ("--checkpoint-every", 7)
    code, out, _ = doomed(
        mpitrain,
        tmp_path,
        3,
        {"kind": "kill", "ranks": [1], "point": "step", "call": 30},
        *options,
        "--progress",
        "lines",
    )
    assert code != 0
    assert "not elastic: a lost rank ends this job" in out
    assert doomed(mpitrain, tmp_path, 2, None, *options, "--resume", "auto")[0] == 0
