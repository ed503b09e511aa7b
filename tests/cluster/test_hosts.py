"""Trainings across two hosts: by mpirun over a stand-in for ssh, on the MPI library of this environment."""

import contextlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..system.conftest import OPEN_MPI
from .conftest import host_script

TRAIN = ("--model", "mlp:widths=16", "--progress", "lines", "--threads", "1")


def losses(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["train"]["loss"] for row in rows if row["kind"] == "epoch"]


def test_doctor_sees_both_hosts(hosts, mpitrain):
    code, output = mpitrain("doctor")
    assert code == 0, output
    assert all(re.search(rf"\b{host}\b", output) for host in hosts), output


def test_a_checkpoint_of_both_hosts_is_resumed(mpitrain, tmp_path):
    code, output = mpitrain(*TRAIN, "--epochs", 2, "--checkpoint-every", "20", "--out", "run")
    assert code == 0, output
    assert list((tmp_path / "run" / "checkpoints").iterdir())
    code, output = mpitrain(*TRAIN, "--epochs", 3, "--out", "run", "--resume", "auto")
    assert code == 0, output
    assert "resumed after step 46" in output or "resumed after step 40" in output, output
    assert json.loads((tmp_path / "run" / "report.json").read_text())["ranks"] == 4


@pytest.mark.slow
def test_a_pipeline_across_hosts_learns_as_one_rank_does(mpitrain, tmp_path):
    """Stages of one pipeline are on different hosts: --mesh pipe=2,data=2 has neighbors on pipe two ranks apart."""
    common = ("--model", "mlp:widths=16+16", "--progress", "lines", "--epochs", 2)
    code, output = mpitrain(*common, "--mesh", "data=2,pipe=2", "--out", "mesh")
    assert code == 0, output
    code, output = mpitrain(*common, "--accumulate", 8, "--out", "plain", ranks_per_host=1)
    assert code == 0, output
    assert losses(tmp_path / "mesh") == pytest.approx(losses(tmp_path / "plain"), rel=1e-4)


def ranks_on(host):
    """Return the processes on a host that are ranks of a training."""
    numbers = subprocess.run(["ip", "netns", "pids", host], check=True, capture_output=True, text=True).stdout.split()
    lines = []
    for number in numbers:
        with contextlib.suppress(OSError):  # it has ended
            lines.append(Path(f"/proc/{number}/cmdline").read_bytes())
    return [line for line in lines if line.startswith(sys.executable.encode() + b"\0-m\0mpitrain")]


@pytest.mark.slow
def test_a_cut_cable_ends_all_ranks_with_one_report(hosts, begin, whole_network):
    """The mpirun of MPICH ends, too; that of Open MPI waits for the host that it cannot reach, until it is killed."""
    job = begin(*TRAIN, "--epochs", 100_000, "--timeout", 5, "--out", "run", limit=90)
    while not re.search(r"^epoch +2/", job.output, re.MULTILINE) and job.process.poll() is None:
        time.sleep(0.1)
    assert all(len(ranks_on(host)) == 2 for host in hosts), job.output
    host_script("cut", hosts[1])
    end = time.monotonic() + 60
    while any(map(ranks_on, hosts)) and time.monotonic() < end:
        time.sleep(0.2)
    assert not any(map(ranks_on, hosts)), job.output
    if not OPEN_MPI:
        code, _ = job.wait()
        assert code not in (0, -9), job.output
    assert job.output.count("no progress for") == 1
    assert "ranks 2 and 3 are not heard of: stopped, gone, or cut off from the network" in job.output
