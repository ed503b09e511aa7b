"""A run directory has one owner at a time: live ones are respected, dead ones are followed by one run only."""

import dataclasses
import json
import multiprocessing
import os
import secrets
import signal
import subprocess
import sys
import threading
import time

import pytest

from mpitrain.config import Config
from mpitrain.errors import UserError
from mpitrain.training.directory import ownership
from mpitrain.training.directory.owner import current_owner, read_owner, write_owner
from mpitrain.training.directory.ownership import Ownership, TakenOverError, refuse_if_owned
from mpitrain.training.directory.run_directory import new_directory

DIES = """
import os, signal, sys, pathlib
from mpitrain.training.directory.ownership import Ownership
Ownership("dead").take(pathlib.Path(sys.argv[1]))
os.kill(os.getpid(), signal.SIGKILL)
"""
HOLDS = DIES.replace("os.kill(os.getpid(), signal.SIGKILL)", "print('mine', flush=True); sys.stdin.read()")


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def write(directory, *, number=1, age=0.0, **changes):
    """Make another user the owner of ``directory``."""
    directory.mkdir(exist_ok=True)
    path = directory / f"owner-{number}.json"
    path.write_bytes(write_owner(dataclasses.replace(current_owner("other"), **changes)))
    os.utime(path, (time.time() - age,) * 2)
    return path


ELSEWHERE = {"host": "h7", "boot": "another", "pid": 1}


def take(directory, run=""):
    owner = Ownership(run or secrets.token_hex(8))
    owner.take(directory)
    return owner


def test_one_at_a_time(tmp_path):
    run = tmp_path / "runs" / "a"
    first = take(run)
    assert names(run) == ["owner-1.json"]
    with pytest.raises(UserError, match=rf"in use by a run on .* \(process {os.getpid()}\) since 20..-..-.. ..:..:.."):
        take(run)
    with pytest.raises(UserError, match="in use by"):
        refuse_if_owned(run)
    assert names(run) == ["owner-1.json"]
    first.release()
    assert names(run) == []
    refuse_if_owned(run)
    with take(run):
        assert names(run) == ["owner-1.json"]
    assert names(run) == []


def test_a_run_that_was_killed_is_followed(tmp_path):
    for number in (1, 2, 3):
        assert subprocess.run([sys.executable, "-c", DIES, tmp_path], timeout=60).returncode == -signal.SIGKILL
        assert f"owner-{number}.json" in names(tmp_path)
    refuse_if_owned(tmp_path)
    with take(tmp_path):
        assert names(tmp_path) == ["owner-3.json", "owner-4.json"]
    assert names(tmp_path) == []


def test_a_process_that_lives_is_respected_until_it_dies(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLDS, tmp_path], **pipes) as child:
        assert child.stdout.readline() == "mine\n"
        with pytest.raises(UserError, match=rf"\(process {child.pid}\)"):
            take(tmp_path)
        child.send_signal(signal.SIGSTOP)  # it may go on
        with pytest.raises(UserError, match=rf"\(process {child.pid}\)"):
            take(tmp_path)
        child.kill()
        child.wait(60)
        take(tmp_path).release()


def test_the_same_process_id_is_not_the_same_process(tmp_path):
    write(tmp_path, started=current_owner("").started - 1)
    take(tmp_path).release()


def test_a_run_on_another_host_is_judged_by_its_last_sign_of_life(tmp_path):
    path = write(tmp_path, age=ownership.STALE_SECONDS - 60, job="Slurm job 5", **ELSEWHERE)
    with pytest.raises(UserError, match=r"a run on h7 \(process 1, Slurm job 5\).* sign of life 2\d\d s ago"):
        take(tmp_path)
    os.utime(path, (time.time() - ownership.STALE_SECONDS - 60,) * 2)
    with take(tmp_path):
        assert names(tmp_path) == ["owner-1.json", "owner-2.json"]


def test_a_job_that_was_put_back_takes_its_directory_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    write(tmp_path, job="Slurm job 78", **ELSEWHERE)
    with pytest.raises(UserError, match="Slurm job 78"):
        take(tmp_path)
    write(tmp_path, job="Slurm job 77", restarts=0, **ELSEWHERE)
    begin = time.monotonic()
    take(tmp_path).release()
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("changes", [{"job": "PBS job 9", **ELSEWHERE}, {"boot": "before"}])
def test_where_a_run_may_be_over_its_signs_are_awaited(tmp_path, monkeypatch, changes):
    monkeypatch.setenv("PBS_JOBID", "9")
    monkeypatch.setattr(ownership, "WATCH_SECONDS", 1.0)
    path = write(tmp_path, **changes)
    stop = threading.Event()

    def beat():
        while not stop.wait(0.1):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    with pytest.raises(UserError, match="in use by"):
        take(tmp_path)
    stop.set()
    thread.join()
    take(tmp_path).release()


def test_the_same_run_goes_on_on_another_rank(tmp_path):
    write(tmp_path, run="elastic")
    with take(tmp_path, "elastic"):
        assert names(tmp_path) == ["owner-1.json", "owner-2.json"]
    assert names(tmp_path) == []


def test_a_file_that_says_nothing(tmp_path):
    path = write(tmp_path)
    for content in (b"", b"{", b"[]", b'{"run": 1}', b"\xff", b"[" * 100000):
        path.write_bytes(content)
        assert read_owner(content) is None
        with pytest.raises(UserError, match="in use by a run that has not said who it is"):
            take(tmp_path)
    os.utime(path, (1, 1))
    take(tmp_path).release()


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_it_gives_signs_of_life_and_notices_that_it_was_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(ownership, "HEARTBEAT_SECONDS", 0.05)
    owner = take(tmp_path)
    path = tmp_path / "owner-1.json"
    os.utime(path, (1, 1))
    wait_for(lambda: path.stat().st_mtime > 1)
    path.unlink()  # by somebody who thought that it was dead
    wait_for(path.exists)
    owner.check()
    other = write(tmp_path, number=2, **ELSEWHERE)
    wait_for(lambda: owner._lost)
    with pytest.raises(TakenOverError, match=r"was taken over by a run on h7 \(process 1\)"):
        owner.check()
    owner.release()
    assert other.exists()


def test_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with take(tmp_path):
        assert json.loads((tmp_path / "owner-1.json").read_text())["pid"] == os.getpid()
        with pytest.raises(UserError, match="in use by"):
            take(tmp_path)
    assert names(tmp_path) == []


def test_what_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write into the run directory"):
        take(tmp_path / "file" / "run")


ROUNDS, RIVALS = 25, 4


def rival(directory, meet, wins, stale):
    for number in range(ROUNDS):
        path = directory / str(number)
        owner = Ownership(f"{os.getpid()}-{number}")
        meet.wait(60)
        try:
            owner.take(path)
            with wins.get_lock():
                wins[number] += 1
        except UserError:
            pass
        meet.wait(60)
        owner.release()


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_that_begin_at_once_one_wins(tmp_path, stale):
    context = multiprocessing.get_context("spawn")
    meet, wins = context.Barrier(RIVALS), context.Array("i", ROUNDS)
    if stale:
        for number in range(ROUNDS):
            write(tmp_path / str(number), started=1)
    rivals = [context.Process(target=rival, args=(tmp_path, meet, wins, stale)) for _ in range(RIVALS)]
    for process in rivals:
        process.start()
    for process in rivals:
        process.join(90)
    assert [process.exitcode for process in rivals] == [0] * RIVALS
    assert list(wins) == [1] * ROUNDS
    assert all(names(path) == [] for path in tmp_path.iterdir())


def choose(directory, meet, chosen):
    os.chdir(directory)
    for _ in range(ROUNDS):
        meet.wait(60)
        chosen.put(str(new_directory(Config())))


def test_runs_that_choose_a_number_at_once_get_different_ones(tmp_path):
    context = multiprocessing.get_context("spawn")
    meet, chosen = context.Barrier(RIVALS), context.Queue()
    rivals = [context.Process(target=choose, args=(tmp_path, meet, chosen)) for _ in range(RIVALS)]
    for process in rivals:
        process.start()
    found = [chosen.get(timeout=90) for _ in range(ROUNDS * RIVALS)]
    for process in rivals:
        process.join(60)
    assert sorted(found) == sorted(f"runs/digits-convnet-{n}" for n in range(1, ROUNDS * RIVALS + 1))
