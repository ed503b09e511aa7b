"""A rank that does not come: the others do not wait for ever, and the job says who it was."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from mpitrain.comm.watch.slot import process_state
from tests.system.conftest import Job

HANGING = (str(Path(__file__).with_name("hanging.py")),)
STAGES = (str(Path(__file__).with_name("stages.py")),)
LONG = ("--model", "mlp", "--epochs", "5000", "--out", "run", "--progress", "none", "--timeout", 2)
TIMED_OUT = 124


def line(text, start):
    found = [line for line in text.splitlines() if line.strip().startswith(start)]
    assert found, text
    return found[0]


@pytest.mark.parametrize("all_reduce", ["tree", "native", "shared"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_stopped_rank(mpitrain, all_reduce, rank):
    code, _, err = mpitrain(3, "stop", rank, 30, *LONG, "--all-reduce", all_reduce, program=HANGING)
    assert code == TIMED_OUT, err
    assert f"(--timeout): rank {rank} is late" in line(err, "mpitrain: no progress for ")
    assert f"{all_reduce} all-reduce of 38,528 bytes of float32 (bucket 0: " in line(err, "ranks ")
    assert line(err, f"rank {rank} is stopped by a signal")


@pytest.mark.parametrize(("kind", "where"), [("sleep", "in oversleep"), ("loop", "in run_in_circles")])
def test_a_rank_that_does_something_else(mpitrain, kind, where):
    code, _, err = mpitrain(3, kind, 1, 30, *LONG, program=HANGING)
    assert code == TIMED_OUT, err
    assert "rank 1 is late" in line(err, "mpitrain: no progress for ")
    assert where in line(err, "rank 1 is at ")


def test_a_rank_that_does_not_come_to_a_group(mpitrain):
    code, _, err = mpitrain(3, 2, program=(str(Path(__file__).with_name("group_wait.py")),))
    assert code == TIMED_OUT, err
    assert "rank 2 is late" in line(err, "mpitrain: no progress for ")
    waits = line(err, "rank 0 waits in ")
    assert "ring all-reduce of 80 bytes of float64 on axis tensor (ranks 0 and 2) planned at system/group_wait" in waits
    assert "barrier at system/group_wait.py" in line(err, "rank 1 waits in ")


@pytest.mark.parametrize("kind", ["stop", "sleep"])
def test_a_stage_that_does_not_send(mpitrain, kind):
    code, _, err = mpitrain(3, kind, 2, program=STAGES)
    assert code == TIMED_OUT, err
    assert "(--timeout): stage 1 (rank 1) is late" in line(err, "mpitrain: no progress for ")
    does = "which is stopped by a signal (SIGSTOP)" if kind == "stop" else "which is at system/stages.py:"
    for stage, message in ((0, "gradient"), (2, "activation")):
        waits = line(err, f"stage {stage} (rank {stage}) waits for the ")
        assert f" waits for the {message} of microbatch 3 from stage 1 (rank 1), {does}" in waits
        assert (" in oversleep" in waits) == (kind == "sleep")
    assert line(err, "stage 1 (rank 1) is ")


@pytest.mark.any_mpi
def test_a_message_that_is_never_sent(mpitrain):
    code, _, err = mpitrain(3, "forgets", 2, program=STAGES)
    assert code == TIMED_OUT, err
    assert line(err, "stage 0 (rank 0) waits for the gradient of microbatch 3 from stage 1 (rank 1), which waits ")
    assert line(err, "stage 2 (rank 2) waits for the activation of microbatch 3 from stage 1 (rank 1), which waits ")


@pytest.mark.any_mpi
def test_stages_that_wait_for_each_other(mpitrain):
    code, _, err = mpitrain(3, "circle", 2, program=STAGES)
    assert code == TIMED_OUT, err
    assert "ranks 0-2 wait for messages from each other" in line(err, "mpitrain: no progress for ")
    waits = line(err, "stage 2 (rank 2) waits for the activation of microbatch 3 from the right (rank 0), which waits ")
    assert waits.endswith("waits for the activation of microbatch 3 from the right (rank 1)")


def test_a_stage_that_is_killed(mpitrain):
    begin = time.monotonic()
    code, out, _ = mpitrain(3, "kill", 60, program=STAGES)
    assert code != 0
    assert "finished" not in out
    assert time.monotonic() - begin < 40


def test_messages_of_other_lengths_end_the_job(mpitrain):
    code, _, err = mpitrain(3, "length", 60, program=STAGES)
    assert code == 2, err
    message = "the activation of microbatch 3 from stage 1 (rank 1) has 7,992 bytes, but 8,000 are expected here"
    assert f"mpitrain: stage 2 (rank 2) of 3: {message}" in err
    assert "Traceback" not in err


@pytest.mark.any_mpi
def test_a_mesh_that_does_not_fit(mpitrain):
    code, _, err = mpitrain(3, "mesh", 60, program=STAGES)
    assert code == 2, err
    told = [line for line in err.splitlines() if line.startswith("mpitrain: ")]
    fitting = "for 3 ranks there is data=1,pipe=3 or data=3,pipe=1"
    assert told == [f"mpitrain: the mesh data=2,pipe=4 has 8 ranks, not 3; {fitting}"]
    assert "Traceback" not in err


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_reader_that_does_not_come_back(mpitrain, ranks):
    code, _, err = mpitrain(ranks, "stuck-reader", ranks - 1, 30, *LONG, program=HANGING)
    assert code == TIMED_OUT, err
    assert "is late, waiting for input" in line(err, "mpitrain: no progress for ")
    assert "in stuck_input" in line(err, f"rank {ranks - 1} waits for a thread of its own")


@pytest.mark.parametrize(
    ("kind", "theirs", "ours"),
    [
        ("other-order", "allreduce (max) of 32 bytes of float64", "allreduce (min) of 32 bytes of float64"),
        ("other-size", "allreduce (sum) of 40 bytes of float64", "allreduce (sum) of 32 bytes of float64"),
        ("other-dtype", "allreduce (sum) of 16 bytes of float64", "allreduce (sum) of 16 bytes of float32"),
        ("one-more", "allgather", "tree all-reduce of 38,528 bytes of float32"),
    ],
)
def test_collectives_that_do_not_match(mpitrain, kind, theirs, ours):
    code, _, err = mpitrain(3, kind, 1, 30, *LONG, "--all-reduce", "tree", program=HANGING)
    assert code != 0
    assert "rank 1's collective number " in err, err
    sentence = next(line for line in err.splitlines() if "rank 1's collective number " in line)
    assert f" is {theirs}" in sentence
    assert f"but rank 0's is {ours}" in sentence
    assert "Traceback" not in err


def test_models_that_differ(mpitrain):
    code, _, err = mpitrain(2, "other-model", 1, 0, *LONG, program=HANGING)
    assert code == 1
    assert "mpitrain: rank 1 has built another model than rank 0: its " in err


def test_ranks_that_are_left_behind_end_themselves(tmp_path):
    job = Job(tmp_path, 3, HANGING, ["none", 0, 0, *LONG, "--epochs", 100000, "--timeout", 300])
    deadline = time.monotonic() + 150
    while not (pids := ranks_of(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in (job.process.pid, *pids[:1]):  # the launcher, and with it what would end the others
        os.kill(pid, signal.SIGKILL)
    while any(process_state(pid) not in ("", "Z") for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.2)
    left = [pid for pid in pids if process_state(pid) not in ("", "Z")]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    job.process.wait()
    assert not left


def ranks_of(directory):
    """Return the processes that train in ``directory``, once all three have begun."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (path / "cmdline").read_bytes().split(b"\0")
            if (path / "cwd").readlink() == directory and b"mpirun" not in command[0] and b"none" in command:
                found.append(int(path.name))
    begun = (directory / "run" / "metrics.jsonl").exists()
    return sorted(found) if begun else []
