"""Whatever goes wrong: every job ends by itself, with one clear message."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

FAULTY = (str(Path(__file__).with_name("faulty.py")),)
LONG = ("--epochs", "5000", "--out", "run")


def mentions(text, part):
    return sum(part in line for line in text.splitlines())


def test_an_exception_on_one_rank_ends_all(mpitrain):
    code, _, err = mpitrain(3, "raise", 1, 30, *LONG, program=FAULTY)
    assert code != 0
    assert mentions(err, "mpitrain: rank 1 of 3 failed:") == 1
    assert mentions(err, "[1] RuntimeError: a fault for the test") == 1
    assert mentions(err, "Traceback") == 1


def test_an_exception_on_all_ranks_is_told_once(mpitrain):
    code, _, err = mpitrain(4, "raise", -1, 30, *LONG, program=FAULTY)
    assert code != 0
    assert mentions(err, "Traceback") == 1, err


@pytest.mark.any_mpi
def test_steps_that_are_left_out_are_told_once(mpitrain):
    options = ("--model", "mlp", "--lr", "1e30", "--epochs", 1, "--non-finite", "skip", "--out", "run")
    code, out, err = mpitrain(3, *options)
    assert code == 1
    assert "the 10th in a row" in err
    told = [line for line in (out + err).splitlines() if "is skipped: the " in line]
    assert len(told) == 9, told


def test_bad_input_on_one_rank_ends_all(mpitrain):
    code, _, err = mpitrain(3, "user-error", 2, 30, *LONG, program=FAULTY)
    assert code == 2
    assert mentions(err, "mpitrain: rank 2 of 3: bad input for the test") == 1
    assert mentions(err, "Traceback") == 0


def test_a_killed_rank_ends_all(mpitrain):
    code, _, _ = mpitrain(3, "kill", 1, 30, *LONG, program=FAULTY)
    assert code != 0


def test_an_interrupt_keeps_the_last_weights(mpitrain, tmp_path):
    code, out, _ = mpitrain(3, "interrupt", 2, 30, *LONG, program=FAULTY)
    assert code == 0
    assert "stopped early; the last weights are in run/model.safetensors" in out
    assert mpitrain(2, "evaluate", "run")[0] == 0


@pytest.mark.any_mpi
def test_weights_that_drift_apart_are_noticed(mpitrain):
    code, _, err = mpitrain(3, "drift", 2, 30, *LONG, "--check-every", 10, "--shard", "none", program=FAULTY)
    assert code == 1
    assert mentions(err, "the weights of rank 2 differ from those of rank 0 after step 40: ") == 1


@pytest.mark.any_mpi
def test_a_loss_that_is_not_a_number(mpitrain):
    code, _, err = mpitrain(2, "--lr", "1e30", "--out", "run")
    assert code == 1
    assert mentions(err, "mpitrain: the loss became ") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batchsize", "3"], "Unrecognized options: --batchsize"),
        (["--epochs", "0"], "mpitrain: --epochs is 0, but must be at least 1"),
        (["--epochs", "x"], "Error parsing --epochs"),
        (["--data", "digit"], "mpitrain: there is no source 'digit' (did you mean 'digits'?)"),
        (["--data", "mnist:/nowhere"], "/nowhere"),
        (["--model", "lenett"], "mpitrain: there is no model 'lenett'"),
        (["--all-reduce", "rign"], "mpitrain: there is no all-reduce 'rign'"),
        (["--config", "none.toml"], "mpitrain: cannot read the config file none.toml"),
        (["--config"], "Missing value for argument '--config'"),
        (["--widths", "10"], "mpitrain: --widths is an option of mlp"),
        (["--out", "/proc/none/run"], "mpitrain: cannot write into the run directory /proc/none/run"),
        (["trian"], "mpitrain: there is no command 'trian'"),
        (["evaluate", "nowhere"], "mpitrain: nowhere is no run directory"),
        (["predict", "nowhere", "--data", "digits", "--out", "x.txt"], "--out is x.txt, but must end in .csv or .npz"),
    ],
)
@pytest.mark.any_mpi
def test_bad_options(mpitrain, arguments, message):
    code, out, err = mpitrain(2, *arguments)
    assert code == 2, err
    assert mentions(err, message) == 1, err
    assert out.strip() == "" or "prterun" in out or "BAD TERMINATION" in out
    assert mentions(err, "Traceback") == 0


@pytest.mark.any_mpi
def test_truncated_idx(mpitrain, tmp_path):
    images = np.zeros((60, 8, 8), np.uint8)
    for part, count in (("train", 60), ("t10k", 20)):
        for kind, array in (("images-idx3", images[:count]), ("labels-idx1", np.arange(count, dtype=np.uint8) % 10)):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            data = gzip.compress(header + array.tobytes())
            short = data[: len(data) // 2] if (part, kind) == ("t10k", "images-idx3") else data
            (tmp_path / f"{part}-{kind}-ubyte.gz").write_bytes(short)
    code, _, err = mpitrain(3, "--data", f"mnist:{tmp_path}")
    assert code == 2
    assert mentions(err, "mpitrain: ") == 1
    assert "t10k-images-idx3-ubyte.gz" in err


@pytest.mark.any_mpi
@pytest.mark.parametrize("ranks", [1, 8])
def test_three_samples(mpitrain, tmp_path, ranks):
    (tmp_path / "three.csv").write_text("a,b,y\n1,2,3\n2,3,4\n4,5,7\n")
    table = ("--data", "csv:three.csv,target=y", "--task", "regression", "--model", "mlp")
    code, out, err = mpitrain(ranks, *table, "--epochs", 2, "--out", "run")
    assert code == 0, err
    assert "2 training and 1 test sample," in out


@pytest.mark.any_mpi
def test_a_target_that_is_missing(mpitrain, tmp_path):
    (tmp_path / "holes.csv").write_text("a,b,y\n1,2,3\n2,3,\n4,5,7\n")
    code, _, err = mpitrain(2, "--data", "csv:holes.csv,target=y", "--model", "mlp")
    assert code == 2
    assert mentions(err, "mpitrain: ") == 1
    assert "'y'" in err
    assert "line 3" in err


@pytest.mark.any_mpi
def test_an_earlier_run_is_not_overwritten(mpitrain, tmp_path):
    assert mpitrain(1, "--epochs", 1, "--out", "run")[0] == 0
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    code, _, err = mpitrain(2, "--epochs", 1, "--out", "run")
    assert code == 2
    assert mentions(err, "mpitrain: run holds an earlier run") == 1
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before
