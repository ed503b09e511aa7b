"""Sweeps as a user starts them: trials that fail and hang, kill -9 of a rank, and the same bits as alone."""

import collections
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from .conftest import ENVIRONMENT

HOOK = """
import os, time
from mpitrain import Hook

class Do(Hook):
    def __init__(self, what: str = "", seconds: float = 0.0):
        self.what, self.seconds = what, seconds

    def train_begin(self, info):
        open(f"pid-{os.getpid()}", "w").close()

    def step_end(self, info):
        last = info.rank == info.run.world.size - 1
        if self.what == "slow":
            time.sleep(self.seconds)
        if info.step == 2 and last:
            if self.what == "hang":
                time.sleep(1000)
            if self.what == "loop":
                while True:
                    pass
            if self.what == "error":
                raise ValueError("no good")
            if self.what == "memory":
                raise MemoryError("of 3 GB")
"""

TRAIN = """
[train]
data = "digits"
model = "mlp:widths=8"
batch-size = 300
epochs = 3
validation = 0.2
checkpoint-every = "2"
monitor = "sqlite:file=runs.sqlite"
"""


@pytest.fixture
def sweep(tmp_path, mpitrain):
    """Write the file of a sweep and run it."""
    (tmp_path / "do.py").write_text(HOOK)

    def run(ranks, text, *arguments, train=TRAIN, name="s", **options):
        (tmp_path / f"{name}.toml").write_text(f"[sweep]\nmetric = 'accuracy'\n{text.replace('[train]', train)}")
        return mpitrain(ranks, "sweep", f"{name}.toml", *arguments, **options)

    return run


def events(directory):
    text = (directory / "journal.jsonl").read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()][1:]


def ends(directory):
    """Return the last end of each trial by its number."""
    return {event["trial"]: event for event in events(directory) if event["event"] == "end"}


def digest(directory):
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("size", [1, 2])
def test_a_bad_trial_is_a_row_and_a_good_one_has_the_bits_of_a_run_alone(sweep, mpitrain, tmp_path, size):
    what = ["a", "error", "memory", "b"] + ["hang", "loop"] * (size == 1)  # for two ranks: tests/mpi/test_trials.py
    text = f"""method = "grid"
timeout = "{4 if size == 1 else 80}s"
ranks-per-trial = {size}
[train]
hook = "do.py:Do:what={{what}}"
[parameters]
what = {what}
lr = [0.1]
"""
    code, out, err = sweep(2 * size, text, train=TRAIN.replace("epochs = 3", "epochs = 1"))
    assert (code, err) == (0, ""), (out, err)
    found = ends(tmp_path / "runs" / "s")
    statuses = [found[n]["status"] for n in range(len(what))]
    assert statuses == ["finished", "failed", "failed", "finished"] + ["timed out"] * 2 * (size == 1)
    assert "no good" in found[1]["reason"]
    assert "MemoryError: of 3 GB" in found[2]["reason"]
    assert all(f"trial {n + 1}" in out for n in range(len(what)))
    assert f"2 finished, 2 failed{', 2 timed out' * (size == 1)}" in out
    page = (tmp_path / "runs" / "s" / "sweep.html").read_text()
    assert page.count("failed") >= 2
    assert "<script" not in page
    assert "http" not in page.split("</style>")[1]
    with sqlite3.connect(tmp_path / "runs.sqlite") as database:
        assert database.execute("SELECT count(*) FROM runs WHERE state = 'finished'").fetchone() == (2,)
    settings = ("--config", "runs/s/s-1/config.toml", "--out", "alone", "--progress", "none")
    assert mpitrain(size, "train", *settings)[0] == 0
    assert digest(tmp_path / "alone") == digest(tmp_path / "runs" / "s" / "s-1")
    code, out, err = mpitrain(2 * size, "sweep", "s.toml", "--resume")  # there is nothing left
    assert code == 0, err
    assert [event["event"] for event in events(tmp_path / "runs" / "s")].count("start") == len(what)


SLOW = """method = "grid"
[train]
hook = "do.py:Do:what=slow,seconds=0.1"
[parameters]
seed = [1, 2, 3, 4, 5, 6, 7, 8]
"""


def in_the_middle(directory):
    """Return the trials that run and have checkpoints, once these are all that run and others are over."""
    if not (directory / "journal.jsonl").exists():
        return set()
    done = set(ends(directory))
    running = {event["trial"] for event in events(directory) if event["event"] == "start"} - done
    checkpoints = [list(directory.glob(f"s-{number + 1}/checkpoints/step-*.safetensors")) for number in running]
    return running if len(done) >= 2 and len(running) >= 2 and all(checkpoints) else set()


def test_kill_9_of_a_rank_and_resume(sweep, start, tmp_path):
    """No trial is lost and none is repeated; those that ran go on from their checkpoints, to the same bits."""
    assert sweep(4, SLOW.replace("0.1", "0"), "--out", "whole")[0] == 0
    for path in tmp_path.glob("pid-*"):
        path.unlink()
    (tmp_path / "s.toml").write_text((tmp_path / "s.toml").read_text().replace("seconds=0", "seconds=0.1"))
    job = start(4, "sweep", "s.toml", "--out", "cut")
    deadline = time.monotonic() + 80
    while not (saved := in_the_middle(tmp_path / "cut")):
        assert time.monotonic() < deadline, "no trial has ended"
        time.sleep(0.02)
    victims = sorted(int(path.name.partition("-")[2]) for path in tmp_path.glob("pid-*"))
    assert len(victims) == 4
    os.kill(victims[1], signal.SIGKILL)
    code, _, _ = job.end()
    assert code != 0
    before = events(tmp_path / "cut")
    done = {event["trial"] for event in before if event.get("status") == "finished"}
    running = {event["trial"] for event in before if event["event"] == "start"} - done
    assert running
    assert len(done) < 8
    code, out, err = sweep(4, SLOW, "--out", "cut", "--resume")
    assert code == 0, err
    after = events(tmp_path / "cut")[len(before) :]
    finished = collections.Counter(e["trial"] for e in before + after if e.get("status") == "finished")
    assert finished == dict.fromkeys(range(8), 1)
    started = [event["trial"] for event in after if event["event"] == "start"]
    assert sorted(started) == sorted(set(range(8)) - done)
    assert set(started[: len(running)]) == running  # they come first
    steps = {event["trial"]: event["step"] for event in after if event["event"] == "start"}
    assert all(steps[trial] > 0 for trial in saved & running)
    for number in range(1, 9):
        assert digest(tmp_path / "cut" / f"s-{number}") == digest(tmp_path / "whole" / f"s-{number}"), number
    assert "8 finished" in out


def test_a_signal_ends_a_sweep_with_checkpoints(sweep, start, tmp_path):
    sweep(2, SLOW, "--dry-run")
    job = start(2, "sweep", "s.toml")
    directory, deadline = tmp_path / "runs" / "s", time.monotonic() + 60
    while not list(directory.glob("s-*/checkpoints/step-*.safetensors")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pid = int(next(tmp_path.glob("pid-*")).name.partition("-")[2])
    os.kill(pid, signal.SIGTERM)
    code, out, err = job.end()
    assert code == 85, err
    assert "stopped; continue with --resume" in out
    found = ends(directory)
    assert found
    assert {event["status"] for event in found.values()} <= {"interrupted", "finished"}


def test_two_sweeps_on_one_directory(start, sweep, mpitrain, tmp_path):
    sweep(1, SLOW.replace("0.1", "1"), "--dry-run")
    job = start(2, "sweep", "s.toml")
    deadline = time.monotonic() + 60
    while not (tmp_path / "runs" / "s" / "journal.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for arguments in ((), ("--resume",)):
        code, _, err = mpitrain(2, "sweep", "s.toml", *arguments)
        assert code == 2
        assert err.startswith("mpitrain: runs/s is in use by a run on ")
        assert err.count("mpitrain: ") == 1
    job.process.send_signal(signal.SIGTERM)
    job.end()


def test_refusals(sweep, tmp_path):
    text = "method = 'grid'\n[train]\n[parameters]\nlr = [0.1]\n"
    assert sweep(2, text)[0] == 0
    for changed, arguments, message in (
        (text, (), "runs/s holds an earlier sweep: continue it with --resume"),
        (text.replace("0.1", "0.2"), ("--resume",), "holds a sweep with another [parameters] table"),
        (text.replace("lr", "lrr"), (), "did you mean 'lr'?"),
        (f"ranks-per-trial = 3\n{text}", ("--out", "x"), "ranks-per-trial is 3, but the job has 2 ranks"),
    ):
        code, out, err = sweep(2, changed, *arguments)
        assert code == 2, (out, err)
        assert message in err
        assert err.count("mpitrain: ") == 1


@pytest.mark.parametrize("method", ["asha", "pbt"])
def test_trials_by_parts(sweep, tmp_path, method):
    parameters = "[parameters]\nlr = {min = 0.001, max = 1.0}\n"
    text = f"method = '{method}'\ntrials = 6\n[train]\nschedule = 'constant'\n{parameters}"
    code, out, err = sweep(3, text)
    assert code == 0, err
    found = ends(tmp_path / "runs" / "s")
    statuses = collections.Counter(event["status"] for event in found.values())
    if method == "pbt":
        assert statuses == {"finished": 6}
        lives = [event for event in events(tmp_path / "runs" / "s") if event.get("life")]
        assert lives
        run = tmp_path / "runs" / "s" / f"s-{lives[0]['trial'] + 1}-2"
        epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if '"epoch"' in line]
        assert [line["epoch"] for line in epochs if line["kind"] == "epoch"] == [1, 2, 3]  # those of its parent, too
    else:
        assert statuses["finished"] >= 1
        assert statuses["paused"] >= 3
    assert "6 trials by" in out


def test_a_dry_run(sweep, tmp_path):
    text = "method = 'grid'\nkfold = 2\n[train]\n[parameters]\nlr = [0.1, -1.0]\n"
    code, out, err = sweep(1, text, "--dry-run", train=TRAIN.replace("validation = 0.2\n", ""))
    assert code == 0, err
    assert "lr=0.1 fold=2/2" in out
    assert "will fail: --lr is -1.0, but must be positive" in out
    assert not (tmp_path / "runs").exists()


def test_folds_have_their_means(sweep, tmp_path):
    text = "method = 'grid'\nkfold = 3\n[train]\n[parameters]\nlr = [0.1]\n"
    code, out, err = sweep(2, text, train=TRAIN.replace("validation = 0.2\n", ""))
    assert code == 0, err
    row = next(line.split() for line in out.splitlines() if line.split()[:1] == ["1"])
    values = [event["value"] for event in ends(tmp_path / "runs" / "s").values()]
    assert row[1] == f"{sum(values) / 3:.2%}"
    assert row[3] == "3/3"


def test_one_process_without_mpirun(sweep, tmp_path):
    sweep(1, "method = 'grid'\n[train]\n[parameters]\nlr = [0.1]\n", "--dry-run")
    command = [sys.executable, "-m", "mpitrain", "sweep", "s.toml"]
    done = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
