"""Two runs never write into one directory: the second is told which run is there."""

import json
import os
import signal
import time

LONG = ("--model", "mlp", "--epochs", 100000, "--progress", "none", "--checkpoint-every", 50)


def owner_of(directory, seconds=60):
    """Return the process that owns ``directory``, and its ranks' checkpoint when there is one."""
    until = time.monotonic() + seconds
    while not list(directory.glob("checkpoints/step-*")):
        assert time.monotonic() < until
        time.sleep(0.05)
    (path,) = directory.glob("owner-*.json")
    return json.loads(path.read_text())["pid"]


def test_of_two_that_begin_at_once_one_trains(start, mpitrain, tmp_path):
    for number in range(2):
        out = f"run{number}"
        options = ("--model", "mlp", "--epochs", 150, "--progress", "none", "--out", out)
        jobs = [start(1 + number % 2, *options, *resume) for resume in ((), ("--resume", "auto"))]
        ended = sorted((job.end() for job in jobs), key=lambda result: result[0])
        assert [code for code, _, _ in ended] == [0, 2], ended
        assert ended[1][2].count(f"mpitrain: {out} is in use by a run on ") == 1, ended
        report = json.loads((tmp_path / out / "report.json").read_text())
        lines = [json.loads(line) for line in (tmp_path / out / "metrics.jsonl").read_text().splitlines()]
        assert report["epochs"] == 150
        assert [line["epoch"] for line in lines if line["kind"] == "epoch"] == list(range(1, 151))
        assert not list((tmp_path / out).glob("*owner*"))


def test_a_live_run_is_left_alone_and_a_dead_one_is_resumed(start, mpitrain, tmp_path):
    job = start(2, *LONG, "--out", "run")
    pid = owner_of(tmp_path / "run")
    for resume in ((), ("--resume", "run"), ("--resume", "auto")):
        code, out, err = mpitrain(2, *LONG, "--out", "run", *resume)
        assert code == 2, (out, err)
        assert err.count(f"run is in use by a run on {os.uname().nodename} (process {pid}) since ") == 1, err
    os.kill(pid, signal.SIGKILL)
    assert job.end()[0] != 0
    assert list((tmp_path / "run").glob("owner-*.json"))
    code, out, err = mpitrain(1, "--resume", "run", "--max-time", "1s", "--progress", "lines")
    assert code == 85, err
    assert "resumed after step " in out
    assert not list((tmp_path / "run").glob("*owner*"))
