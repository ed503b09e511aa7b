"""An interrupted run goes on as if nothing had been: the same losses and weights, to the bit on as many ranks."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from mpitrain.data import open_dataset

FAULTY = (str(Path(__file__).with_name("faulty.py")),)
PLAIN = ("--epochs", 4, "--batch-size", 100, "--progress", "lines")  # 15 steps an epoch
MIXED = "--augment", "cutout:size=2,mixup:alpha=0.5"
RICH = (
    *PLAIN,
    "--model",
    "mlp",
    "--dropout",
    0.2,
    "--crop",
    1,
    "--flip",
    *MIXED,
    "--optimizer",
    "adamw",
    "--accumulate",
    2,
)
NORMED = ("--epochs", 2, "--model", "resnet8", "--batch-size", 300, "--clip-norm", 1, "--batch-norm")  # 5 steps


def lines(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def steps(directory):
    return [(e["step"], e["epoch"], e["loss"], e["lr"]) for e in lines(directory) if e["kind"] == "step"]


def epochs(directory):
    return [(e["epoch"], e["step"], e["train"], e["test"]) for e in lines(directory) if e["kind"] == "epoch"]


def weights(directory, name="model"):
    return safetensors.numpy.load_file(directory / f"{name}.safetensors")


def assert_same_run(a, b):
    assert steps(a) == steps(b)
    assert epochs(a) == epochs(b)
    for name in ("model", "best"):
        for tensor, value in weights(a, name).items():
            np.testing.assert_array_equal(value, weights(b, name)[tensor])
    assert (b / "curves.svg").exists()
    reports = [json.loads((d / "report.json").read_text()) for d in (a, b)]
    for key in ("test", "best", "train", "epochs", "steps"):
        assert reports[0][key] == reports[1][key]


@pytest.mark.parametrize(
    ("options", "step", "ranks"),
    [
        (RICH, 29, 2),  # at the end of an epoch
        ((*NORMED, "synchronised"), 7, 2),
        ((*NORMED, "local"), 7, 3),
    ],
)
def test_to_the_bit_on_as_many_ranks(mpitrain, tmp_path, options, step, ranks):
    assert mpitrain(ranks, *options, "--out", "whole")[0] == 0
    code, out, err = mpitrain(ranks, "term", ranks - 1, step, *options, "--out", "cut", program=FAULTY)
    assert code == 85, err
    assert f"left after step {step + 1}; continue with --resume cut" in out
    assert not (tmp_path / "cut" / "report.json").exists()
    code, out, err = mpitrain(ranks, *options, "--out", "cut", "--resume", "auto")
    assert code == 0, err
    assert f"resumed after step {step + 1} from cut/checkpoints/" in out
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_to_rounding_on_others(mpitrain, tmp_path):
    assert mpitrain(1, *RICH, "--out", "whole")[0] == 0
    assert mpitrain(3, "usr1", 1, 20, *RICH, "--out", "cut", program=FAULTY)[0] == 85
    assert mpitrain(2, "usr1", 0, 40, "--resume", "cut", program=FAULTY)[0] == 85
    assert mpitrain(5, "--resume", "cut")[0] == 0
    whole, cut = steps(tmp_path / "whole"), steps(tmp_path / "cut")
    assert [s[:2] for s in whole] == [s[:2] for s in cut]
    np.testing.assert_allclose([s[2:] for s in whole], [s[2:] for s in cut], atol=1e-4)


def test_a_rank_that_dies_while_it_writes(mpitrain, tmp_path):
    options = (*PLAIN, "--checkpoint-every", 10)
    assert mpitrain(3, *options, "--out", "whole")[0] == 0
    assert mpitrain(3, "kill-writing", 2, 25, *options, "--out", "cut", program=FAULTY)[0] != 0
    folder = tmp_path / "cut" / "checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == [
        ".step-000000030.safetensors.part",
        "step-000000010.safetensors",
        "step-000000020.safetensors",
    ]
    code, out, err = mpitrain(3, *options, "--out", "cut", "--resume", "auto")
    assert code == 0, err
    assert "resumed after step 20 from" in out
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    assert sorted(p.name for p in folder.iterdir()) == ["step-000000050.safetensors", "step-000000060.safetensors"]


def test_damaged_files_are_named_and_passed_over(mpitrain, tmp_path):
    options = (*PLAIN, "--checkpoint-every", 10, "--keep-checkpoints", 9)
    assert mpitrain(2, *options, "--out", "run")[0] == 0
    folder = tmp_path / "run" / "checkpoints"
    assert len(list(folder.iterdir())) == 6
    (tmp_path / "run" / "report.json").unlink()  # as if it had been killed at its very end
    data = bytearray((folder / "step-000000060.safetensors").read_bytes())
    data[-100] ^= 4
    (folder / "step-000000060.safetensors").write_bytes(data)
    (folder / "step-000000050.safetensors").write_bytes(data[:-1])
    (folder / "step-000000040.safetensors").write_bytes((tmp_path / "run" / "model.safetensors").read_bytes())
    (folder / "step-000000099.safetensors").write_bytes(b"")
    code, out, err = mpitrain(3, "--resume", "run")
    assert code == 0, err
    for name, reason in ((99, "not a whole"), (60, "checksum of"), (50, "cut off"), (40, "not written by mpitrain")):
        (line,) = [line for line in out.splitlines() if f"step-{name:09d}" in line and "passed over: " in line]
        assert reason in line
    assert "resumed after step 30 from" in out
    code, _, err = mpitrain(2, "--resume", "run/checkpoints/step-000000099.safetensors")
    assert code == 2
    assert err.count("step-000000099.safetensors is not a whole checkpoint") == 1


def test_a_signal_that_saves_and_goes_on(mpitrain, tmp_path):
    code, out, err = mpitrain(2, "usr2", 1, 20, *PLAIN, "--out", "run", program=FAULTY)
    assert code == 0, err
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "step-000000021.safetensors",
        "step-000000060.safetensors",
    ]
    assert "checkpoints  2 of 0.3 MiB; training stood still for" in out


@pytest.mark.parametrize("by", ["option", "Slurm"])
def test_leaving_before_the_time_is_up(mpitrain, tmp_path, by):
    options, environment = ["--epochs", 100000, "--out", "run", "--exit-code", 99], {}
    if by == "option":
        options += ["--max-time", "2s"]
    else:
        environment = {"SLURM_JOB_END_TIME": str(int(time.time()) + 8)}
    code, _, err = mpitrain(2, *options, environment=environment)
    assert code == 99, err
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1


def test_a_full_disk_does_not_end_training(mpitrain, tmp_path):
    options = (*PLAIN, "--checkpoint-every", 10)
    assert mpitrain(2, *options, "--out", "whole")[0] == 0
    code, out, err = mpitrain(2, "limit", 1, 25, *options, "--out", "run", program=FAULTY)
    assert code == 0, err
    assert out.count("no checkpoint step-000000030.safetensors: rank 1: ") == 1
    assert ", 5 failed; training stood still" in out
    found = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert found == ["step-000000010.safetensors", "step-000000020.safetensors"]
    assert_same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--batch-size", 50),
            "--batch-size is 50, but cut/checkpoints/step-000000006.safetensors was written with 100",
        ),
        (("--model", "mlp"), "--model is mlp, but cut/checkpoints/"),
        (("--seed", 5), "--seed is 5, but"),
        (("--optimizer", "adam"), "--optimizer is adam, but"),
        (
            ("--data", "npz:fewer.npz"),
            "there were 1,437 training samples and are now 1,436; --allow-changed-data continues",
        ),
        (("--out", "other"), "--resume cut continues in cut, not in other"),
    ],
)
def test_what_does_not_fit(mpitrain, tmp_path, options, message, cut):
    code, _, err = mpitrain(2, "--resume", "cut", *options)
    assert code == 2
    assert err.count(message) == 1, err
    assert "Traceback" not in err


@pytest.fixture
def cut(mpitrain, tmp_path):
    split = open_dataset("digits").train
    np.savez(tmp_path / "fewer.npz", x_train=split.x[1:], y_train=split.y[1:], x_test=split.x[:9], y_test=split.y[:9])
    assert mpitrain(1, "term", 0, 5, *PLAIN, "--out", "cut", program=FAULTY)[0] == 85


def test_where_there_is_nothing_to_resume(mpitrain, tmp_path):
    code, _, err = mpitrain(2, "--resume", "nowhere")
    assert (code, err.count("cannot resume nowhere: it is neither")) == (2, 1)
    options = ("--epochs", 1, "--out", "run", "--resume", "auto")
    assert mpitrain(1, *options)[0] == 0  # a new run
    before = lines(tmp_path / "run")
    code, out, _ = mpitrain(2, *options)
    assert (code, out.count("run is finished: there is nothing to resume")) == (0, 1)
    assert lines(tmp_path / "run") == before
    code, out, _ = mpitrain(2, "--resume", "run")
    assert (code, out.count("run is finished: there is nothing to resume")) == (0, 1)
    (tmp_path / "run" / "report.json").unlink()  # as if it had been killed before its first checkpoint
    code, _, err = mpitrain(2, "--resume", "run")
    assert (code, err.count("there is no whole checkpoint in run/checkpoints")) == (2, 1)
    assert mpitrain(1, *options)[0] == 0
    assert [line["step"] for line in lines(tmp_path / "run")] == [line["step"] for line in before]


def test_more_epochs_after_the_end(mpitrain, tmp_path):
    options = (*PLAIN, "--checkpoint-every", "1h", "--schedule", "constant")
    assert mpitrain(2, *options, "--epochs", 6, "--out", "whole")[0] == 0
    assert mpitrain(2, "usr2", 0, 9, *options, "--out", "run", program=FAULTY)[0] == 0
    early = (tmp_path / "run" / "report.json").read_bytes()
    assert mpitrain(2, "--resume", "run", "--epochs", 6)[0] == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    (tmp_path / "run" / "report.json").write_bytes(early)  # as if it had been killed before it wrote the report
    assert mpitrain(2, "--resume", "run")[0] == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_resuming_a_finished_run_changes_no_record(mpitrain, tmp_path):
    options = ("--model", "mlp", "--epochs", 3, "--checkpoint-every", 20)
    assert mpitrain(2, *options, "--out", "run")[0] == 0
    before = contents(tmp_path / "run")
    finished = "run is finished: there is nothing to resume"
    for resume in (
        ("--resume", "run"),
        ("--resume", "auto", "--out", "run"),
        ("--resume", "auto", *options, "--out", "run"),
        ("--resume", "run/checkpoints/step-000000069.safetensors"),  # the last
    ):
        code, out, err = mpitrain(2, *resume)
        assert (code, out.count(finished), out.count("\n")) == (0, 1, 1), (resume, out, err)
        assert contents(tmp_path / "run") == before
    for resume in (("--resume", "run"), ("--resume", "auto", "--out", "run")):
        code, _, err = mpitrain(1, *resume, "--epochs", 2)
        assert (code, err.count("--epochs is 2, but run")) == (2, 1), err
        assert contents(tmp_path / "run") == before


def test_fewer_epochs_than_a_checkpoint_has_seen(mpitrain, tmp_path):
    assert mpitrain(2, "term", 0, 40, *PLAIN, "--out", "cut", program=FAULTY)[0] == 85  # in the third epoch
    before = contents(tmp_path / "cut")
    for epochs in (1, 2):
        code, _, err = mpitrain(1, "--resume", "cut", "--epochs", epochs)
        assert (code, err.count(f"--epochs is {epochs}, but cut/checkpoints/")) == (2, 1), err
    assert contents(tmp_path / "cut") == before
    assert mpitrain(1, "--resume", "cut", "--epochs", 3)[0] == 0


def test_a_run_whose_checkpoints_are_all_damaged(mpitrain, tmp_path):
    options = ("--model", "mlp", "--checkpoint-every", 20, "--resume", "auto", "--out", "run")
    assert mpitrain(2, *options, "--epochs", 2)[0] == 0
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    before = contents(tmp_path / "run")
    code, out, err = mpitrain(2, *options, "--epochs", 6)
    assert code == 2
    assert err.count("run has done 2 epochs of the 6 that are asked for, but there is no whole checkpoint in run/") == 1
    assert out.count("passed over: ") == 2
    code, out, _ = mpitrain(2, *options, "--epochs", 2)  # nothing is left to do, and the weights are whole
    assert (code, out.count("run is finished: there is nothing to resume")) == (0, 1)
    assert contents(tmp_path / "run") == before
    weights = tmp_path / "run" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    code, _, err = mpitrain(2, *options, "--epochs", 2)
    assert (code, err.count("it is no whole safetensors file")) == (2, 1), err


def test_going_on_after_an_interrupt(mpitrain, tmp_path):
    assert mpitrain(2, *PLAIN, "--out", "whole")[0] == 0
    code, out, err = mpitrain(2, "interrupt", 1, 20, *PLAIN, "--out", "cut", program=FAULTY)
    assert code == 0, err
    assert "stopped early; the last weights are in cut/model.safetensors" in out
    assert out.rstrip().endswith("continue with --resume cut")
    assert mpitrain(2, "--resume", "cut")[0] == 0
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_reproducible_to_the_bit_across_ranks_and_a_resume(mpitrain, tmp_path):
    options = ("--reproducible", 8, "--epochs", 1, "--model", "resnet8", "--batch-size", 100)
    for ranks, all_reduce in ((1, "auto"), (2, "ring"), (4, "native"), (8, "auto")):
        code, _, err = mpitrain(ranks, *options, "--out", f"r{ranks}", "--all-reduce", all_reduce)
        assert code == 0, err
    assert mpitrain(2, "term", 0, 6, *options, "--out", "cut", program=FAULTY)[0] == 85
    assert mpitrain(4, "--resume", "cut")[0] == 0
    one = weights(tmp_path / "r1")
    for name in ("r2", "r4", "r8", "cut"):
        assert steps(tmp_path / name) == steps(tmp_path / "r1")
        for tensor, value in weights(tmp_path / name).items():
            np.testing.assert_array_equal(value, one[tensor])
    code, _, err = mpitrain(3, *options, "--out", "r3")
    assert (code, err.count("--reproducible 8 cannot run on 3 ranks: their number must divide 8")) == (2, 1)
