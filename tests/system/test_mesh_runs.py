"""Runs on a mesh that end early: signals, kills, and what is resumed on another mesh."""

import json
import os
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

FAULTY = (str(Path(__file__).with_name("faulty.py")),)
MODEL = ("--model", "mlp", "--widths", 16, 16, 16, "--dropout", 0.1, "--accumulate", 8)
RUN = (*MODEL, "--epochs", 3, "--progress", "none", "--out", "run")
SQUARE = ("--mesh", "data=2,pipe=2")
LAST_STEP = 69


def losses(run):
    """Return the loss of each step; a step that was done again counts as it was the last time."""
    notes = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {note["step"]: note["loss"] for note in notes if note["kind"] == "step"}


def weights(run):
    return load_file(run / "model.safetensors")


def same_bits(run, other):
    mine, theirs = weights(run), weights(other)
    return mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)


def checkpoints(run):
    return sorted(path.name for path in run.glob("checkpoints/step-*"))


def test_a_killed_run_is_resumed_on_any_mesh(mpitrain, tmp_path):
    seed = int.from_bytes(os.urandom(4))
    kill_at = random.Random(seed).randrange(8, LAST_STEP - 8)
    code, _, err = mpitrain(4, *RUN, *SQUARE, "--check-every", 5)
    assert code == 0, err
    run, whole = tmp_path / "run", tmp_path / "whole"
    run.rename(whole)
    expected = losses(whole)
    assert list(expected) == list(range(1, LAST_STEP + 1))
    rank = seed % 4
    code, _, _ = mpitrain(4, "kill", rank, kill_at, *RUN, *SQUARE, "--checkpoint-every", 7, program=FAULTY)
    assert code not in (0, 1, 2)
    killed = tmp_path / "killed"
    run.rename(killed)
    for ranks, mesh in ((1, "data=1"), (4, "data=4"), (4, "pipe=4"), (2, "data=2"), (3, "data=1,pipe=3")):
        shutil.copytree(killed, run)
        code, _, err = mpitrain(ranks, "--resume", "run", "--mesh", mesh)
        assert code == 0, err
        found = losses(run)
        assert list(found) == list(expected), f"{seed=} {mesh=}"
        worst = max(abs(found[step] - expected[step]) for step in expected)
        assert worst < 1e-5, f"{seed=} {mesh=} {worst=}"
        if mesh == "data=2":
            assert found == expected, f"{seed=}"
            assert same_bits(run, whole), f"{seed=}"
        shutil.rmtree(run)


def test_only_the_pipe_axis_changes(mpitrain, tmp_path):
    """One rank, then four stages, then two with two chunks each: the bits of one rank."""
    code, _, err = mpitrain(1, *RUN)
    assert code == 0, err
    run, whole = tmp_path / "run", tmp_path / "whole"
    run.rename(whole)
    assert mpitrain(1, "term", 0, 10, *RUN, program=FAULTY)[0] == 85
    assert mpitrain(4, "term", 2, 40, "--resume", "run", "--mesh", "pipe=4", program=FAULTY)[0] == 85
    last = ("--resume", "run", "--mesh", "pipe=2", "--pipeline", "interleaved:chunks=2")
    code, _, err = mpitrain(2, *last)
    assert code == 0, err
    assert losses(run) == losses(whole)
    assert same_bits(run, whole)


@pytest.mark.parametrize("signal", ["term", "usr1"])
@pytest.mark.parametrize("rank", range(4))
def test_signals_leave_with_a_checkpoint(mpitrain, tmp_path, signal, rank):
    code, out, err = mpitrain(4, signal, rank, 10, *MODEL, *SQUARE, "--out", "run", program=FAULTY)
    assert code == 85, err
    assert checkpoints(tmp_path / "run") == ["step-000000011.safetensors"]
    assert out.count("left after step 11; continue with --resume run") == 1


def test_a_checkpoint_on_request(mpitrain, tmp_path):
    code, _, err = mpitrain(4, "usr2", 3, 10, *RUN, *SQUARE, program=FAULTY)
    assert code == 0, err
    assert "step-000000011.safetensors" in checkpoints(tmp_path / "run")


def test_the_time_is_up(mpitrain, tmp_path):
    begin = time.monotonic()
    code, out, err = mpitrain(4, *MODEL, *SQUARE, "--epochs", 100000, "--max-time", "2s", "--out", "run")
    assert code == 85, err
    assert time.monotonic() - begin < 60
    (name,) = checkpoints(tmp_path / "run")
    assert f"left after step {int(name[5:14]):,}; continue with --resume run" in out


def test_a_mesh_that_does_not_fit_any_more(mpitrain, tmp_path):
    """The message says what to give; options of a pipeline do no harm where there is none any more."""
    options = (*RUN, *SQUARE, "--pipeline", "gpipe", "--stages", 3)
    assert mpitrain(4, "term", 0, 10, *options, program=FAULTY)[0] == 85
    code, _, err = mpitrain(2, "--resume", "run")
    assert code == 2
    assert [line for line in err.splitlines() if line.startswith("mpitrain: ")] == [
        "mpitrain: the mesh data=2,pipe=2 has 4 ranks, not 2; for 2 ranks there is data=2,pipe=1 or data=1,pipe=2; "
        "give one as --mesh to continue the run on other ranks than before"
    ]
    assert "Traceback" not in err
    code, _, err = mpitrain(1, "--resume", "run", "--mesh", "data=1")
    assert code == 0, err
    assert list(losses(tmp_path / "run")) == list(range(1, LAST_STEP + 1))


@pytest.mark.parametrize("rank", [1, 2])
def test_weights_that_drift_apart_on_one_stage(mpitrain, rank):
    """Ranks of the other stage, whose weights agree, end as well."""
    options = (*RUN, *SQUARE, "--check-every", 10, "--shard", "none")
    code, _, err = mpitrain(4, "drift", rank, 30, *options, program=FAULTY)
    assert code == 1, err
    told = [line for line in err.splitlines() if line.startswith("mpitrain: ")]
    assert len(told) == 1, err
    assert " differ from those of rank " in told[0]
    assert " after step 40: " in told[0]
