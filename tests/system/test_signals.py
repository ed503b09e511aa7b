"""Signals that end a run leave a checkpoint behind; a closed terminal and a launcher that is killed are such, too."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import ENVIRONMENT, OPEN_MPI

FAULTY = (str(Path(__file__).with_name("faulty.py")),)
LONG = ("--model", "mlp", "--epochs", "100000", "--progress", "none", "--out", "run")


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def checkpoints(tmp_path):
    return sorted(path.name for path in (tmp_path / "run").glob("checkpoints/step-*"))


def test_sighup_leaves_with_a_checkpoint(mpitrain, tmp_path):
    code, out, err = mpitrain(2, "hup", 1, 20, *LONG[:-4], "--progress", "lines", "--out", "run", program=FAULTY)
    assert code == 85, err
    assert checkpoints(tmp_path) == ["step-000000021.safetensors"]
    assert out.count("left after step 21; continue with --resume run") == 1


def test_sighup_stays_ignored_under_nohup(tmp_path):
    command = [sys.executable, *FAULTY, "hup", "0", "5", "--model", "mlp", "--epochs", "1", "--out", "run"]
    ran = subprocess.run(
        ["bash", "-c", 'trap "" HUP; exec "$@"', "-", *command],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "run" / "report.json").exists()


def test_closing_the_terminal(tmp_path):
    command = [sys.executable, "-m", "mpitrain", *LONG]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(sys.executable, command, ENVIRONMENT)
    try:
        wait_for(lambda: (tmp_path / "run" / "best.safetensors").exists())
        os.close(terminal)
        wait_for(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
        pid = 0
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert len(checkpoints(tmp_path)) == 1
    assert not list((tmp_path / "run").glob("owner-*"))


@pytest.mark.skipif(not OPEN_MPI, reason="MPICH's ranks are killed with their launcher")
def test_ranks_whose_launcher_is_killed_leave_with_a_checkpoint(start, mpitrain, tmp_path):
    job = start(2, *LONG)
    wait_for(lambda: (tmp_path / "run" / "best.safetensors").exists())
    job.process.kill()
    wait_for(lambda: checkpoints(tmp_path) and not list((tmp_path / "run").glob("owner-*")))
    code, out, err = mpitrain(1, "--resume", "run", "--max-time", "1s", "--progress", "lines")
    assert (code, out.count("resumed after step ")) == (85, 1), err


@pytest.mark.parametrize("every", ["0", ""])
def test_no_checkpoints_on_a_schedule(mpitrain, tmp_path, every):
    options = ("--model", "mlp", "--epochs", 1, "--checkpoint-every", every, "--out", "run")
    code, out, err = mpitrain(2, *options)
    assert code == 0, err
    assert "checkpoints" not in out
    assert not (tmp_path / "run" / "checkpoints").exists()
