import zlib

import numpy as np
import pytest

from mpitrain.duration import check_interval, parse_time
from mpitrain.errors import UserError
from mpitrain.training.checkpoint.crc32 import combine
from mpitrain.training.checkpoint.timer import CheckpointTimer


@pytest.mark.parametrize("lengths", [(0, 0), (1, 0), (0, 1), (3, 70000), (65536, 1), (12345, 54321)])
def test_checksums_of_pieces_combine(lengths):
    rng = np.random.default_rng(lengths)
    first, second = (rng.bytes(length) for length in lengths)
    assert combine(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("0.5s", 0.5),
        ("2d", 172800),
        ("12:30:00", 45000),
        ("1-00:00:01", 86401),
    ],
)
def test_times(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "10 m", "m", "10x", "-1s", "1:2:3", "1e3s"])
def test_what_is_no_time(text):
    with pytest.raises(UserError, match="is no time: write"):
        parse_time(text)
    if text:
        with pytest.raises(UserError, match="is neither a number of steps nor a time"):
            check_interval(text)


def test_steps_or_time_between_checkpoints():
    now = [1000.0]
    timer = CheckpointTimer("20", "", {}, lambda: now[0])
    assert [step for step in range(1, 70) if timer.is_due_after(step)] == [20, 40, 60]
    timer = CheckpointTimer("90s", "", {}, lambda: now[0])
    due = []
    for now[0] in range(1000, 1300, 10):
        if timer.is_due():
            due.append(now[0])
            timer.saved()
    assert due == [1090, 1180, 1270]
    assert not any(timer.is_due_after(step) for step in range(1, 100))


@pytest.mark.parametrize("every", ["", "0", "00", "0s", "0m"])
def test_no_checkpoints(every):
    check_interval(every)
    now = [1000.0]
    timer = CheckpointTimer(every, "", {}, lambda: now[0])
    now[0] += 1e9
    assert not timer.is_due()
    assert not any(timer.is_due_after(step) for step in range(100))


@pytest.mark.parametrize(
    ("max_time", "job_end", "leaves_at"),
    [
        ("10m", "", 1600),
        ("", "4600", 4480),
        ("", "1100", 1090),
        ("1h", "2000", 1900),
        ("5m", "2000", 1300),
        ("", "900", None),
    ],
)
def test_the_end_of_the_time(max_time, job_end, leaves_at):
    now = [1000.0]
    timer = CheckpointTimer("", max_time, {"SLURM_JOB_END_TIME": job_end}, lambda: now[0])
    times = [t for now[0] in range(1000, 6000, 10) for t in now if timer.is_up()]
    assert (times[0] if times else None) == leaves_at
