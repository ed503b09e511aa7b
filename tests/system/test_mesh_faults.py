"""Faults in the tasks of a training run on a mesh: the job ends in bounded time and names stage and rank."""

import contextlib
import time
from pathlib import Path

import pytest

from mpitrain.comm.watch.slot import process_state

FAULTY = (str(Path(__file__).with_name("faulty_stage.py")),)
RUN = ("--model", "mlp", "--widths", *(16,) * 5, "--epochs", 200, "--progress", "none", "--timeout", 2)
SQUARE, ROW = ("--mesh", "data=2,pipe=2"), ("--mesh", "pipe=3", "--pipeline", "zb_h1")
OPTIONS = {4: (*RUN, "--accumulate", 8, *SQUARE, "--out", "run"), 3: (*RUN, "--accumulate", 8, *ROW, "--out", "run")}
TIMED_OUT = 124
LIMIT = 60  # seconds, which a hang takes a few of


@pytest.fixture
def fail(mpitrain, tmp_path):
    """Run with a fault, and return (code, lines of errors); no rank is left."""

    def run(ranks, *fault, options=()):
        begin = time.monotonic()
        code, _, err = mpitrain(ranks, *fault, *OPTIONS[ranks], *options, program=FAULTY)
        assert time.monotonic() - begin < LIMIT
        until = time.monotonic() + 5
        while (left := ranks_in(tmp_path)) and time.monotonic() < until:
            time.sleep(0.1)
        assert not left
        return code, [line.strip() for line in err.splitlines()]

    return run


def ranks_in(directory):
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "cwd").readlink() == directory and process_state(int(path.name)) not in ("", "Z"):
                found.append(int(path.name))
    return found


def starting(lines, start):
    found = [line for line in lines if line.startswith(start)]
    assert found, lines
    return found[0]


@pytest.mark.parametrize(
    ("kind", "ranks", "task", "rank", "stage", "words"),
    [
        ("stop", 4, "forward", 2, 0, "the forward of microbatch "),
        ("sleep", 4, "backward", 1, 1, "the backward of microbatch "),
        ("stop", 4, "evaluation", 0, 0, "the forward of batch 0"),
        ("sleep", 3, "weights", 2, 2, "the dw of microbatch "),
    ],
)
def test_a_stage_that_hangs(fail, kind, ranks, task, rank, stage, words):
    code, lines = fail(ranks, kind, task, rank, 1 if task == "evaluation" else 30)
    assert code == TIMED_OUT, lines
    name = f"stage {stage} (rank {rank})"
    assert starting(lines, "mpitrain: no progress for ").endswith(f" (--timeout): {name} is late")
    late = starting(lines, f"{name} is ")
    if kind == "stop":
        assert late.startswith(f"{name} is stopped by a signal (SIGSTOP) in {words}")
    else:
        assert late.startswith(f"{name} is in {words}")
        assert " in oversleep, from " in late


def test_who_waits_for_a_stage_that_hangs(fail):
    """Its neighbors wait for messages of it, and those are named with the microbatch."""
    code, lines = fail(3, "sleep", "forward", 1, 30)
    assert code == TIMED_OUT, lines
    for stage, what in ((0, "gradient"), (2, "activation")):
        waits = starting(lines, f"stage {stage} (rank {stage}) waits for the {what} of microbatch ")
        assert " from stage 1 (rank 1), which is in the forward of microbatch " in waits


def test_a_rank_with_several_stages_that_hangs(fail):
    options = ("--pipeline", "interleaved:chunks=2")
    code, lines = fail(4, "sleep", "forward", 1, 30, options=options)
    assert code == TIMED_OUT, lines
    name = "rank 1 (stages 1 and 3)"
    assert starting(lines, "mpitrain: no progress for ").endswith(f"{name} is late")
    assert " on stage " in starting(lines, f"{name} is in the forward of microbatch ")
    assert starting(lines, "rank 0 (stages 0 and 2) waits for the gradient of microbatch ")


@pytest.mark.parametrize(
    ("ranks", "task", "rank", "stage"),
    [(4, "backward", 2, 0), (3, "weights", 1, 1), (4, "evaluation", 1, 1)],
)
def test_a_stage_that_raises(fail, ranks, task, rank, stage):
    code, lines = fail(ranks, "raise", task, rank, 1 if task == "evaluation" else 30)
    assert code == 1, lines
    assert [line for line in lines if line.startswith("mpitrain: ")] == [
        f"mpitrain: stage {stage} (rank {rank}) of {ranks} failed:"
    ]
    assert lines.count(f"[{rank}] RuntimeError: a fault for the test") == 1


@pytest.mark.parametrize(("ranks", "task", "rank"), [(4, "forward", 1), (4, "evaluation", 2)])
def test_a_stage_that_is_killed(fail, ranks, task, rank):
    code, lines = fail(ranks, "kill", task, rank, 1 if task == "evaluation" else 30)
    assert code not in (0, 1, 2, TIMED_OUT), lines
