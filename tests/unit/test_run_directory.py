"""Files of a run while it goes on."""

import json
import os
import time

import pytest

from mpitrain.config import Config
from mpitrain.training.directory.run_directory import RunDirectory


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(time, "monotonic", lambda: Clock.now)
    return Clock


def test_lines_of_a_long_epoch_are_there_within_seconds(tmp_path, clock):
    run = RunDirectory(tmp_path / "run", Config())
    path = tmp_path / "run" / "metrics.jsonl"

    def steps():
        return [json.loads(line)["step"] for line in path.read_text().splitlines()]

    for step in range(1, 4):
        run.log("step", step=step)
    assert steps() == []  # no file is written for each of many short steps
    clock.now += 6
    run.log("step", step=4)
    assert steps() == [1, 2, 3, 4]
    run.log("step", step=5)
    clock.now += 4
    run.log("step", step=6)
    assert steps() == [1, 2, 3, 4]
    run.log("epoch", step=6)
    assert steps() == [1, 2, 3, 4, 5, 6, 6]
    run.close()


def test_events_are_written_at_once_and_stay(tmp_path):
    run = RunDirectory(tmp_path / "run", Config())
    run.record("note", step=3, text="caf\udce9 \u2713")
    run.log("step", step=9)
    run.close()
    resumed = RunDirectory(tmp_path / "run", Config(), (2, 0))
    resumed.record("end", step=4, reason="x", failed=False)
    first, last = (json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines())
    assert (first["kind"], first["step"], first["text"]) == ("note", 3, "caf\udce9 \u2713")
    assert (last["kind"], last["step"]) == ("end", 4)
    assert abs(last["time"] - time.time()) < 60
    resumed.close()


def test_an_event_that_cannot_be_written_is_no_error(tmp_path):
    run = RunDirectory(tmp_path / "run", Config())
    (tmp_path / "run" / "events.jsonl").mkdir()  # as with a full disk, nothing can be opened
    run.record("note", step=1, text="x")
    run.close()


def test_a_second_close_closes_nothing(tmp_path):
    """The number of the closed file may be that of another one by then."""
    run = RunDirectory(tmp_path / "run", Config())
    before = os.open(tmp_path, os.O_RDONLY)
    run.close()
    later = os.open(tmp_path, os.O_RDONLY)
    assert later < before  # the number that the run's file had, since the system gives the lowest
    run.close()
    os.fstat(later)
    for descriptor in (before, later):
        os.close(descriptor)
