"""Services under load: time-outs, full queues, their end, ranks that hang or die; texts as they are written."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from .conftest import ENVIRONMENT, OPEN_MPI
from .served import Served, until

QUICK, SLOW, HANG = [0, 5], [1, 5], [50, 5]


def train(directory, *arguments):
    command = [sys.executable, "-m", "mpitrain", "train", *arguments, "--out", "run", "--progress", "none"]
    ran = subprocess.run(command, cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A directory with a run of a slow model on a table with columns a and b."""
    directory = tmp_path_factory.mktemp("slow")
    shutil.copy(Path(__file__).with_name("slow_model.py"), directory)
    rows = [f"{k % 2},{k % 3},{'yes' if k % 3 else 'no'}" for k in range(60)]
    (directory / "table.csv").write_text("\n".join(["a,b,c", *rows, ""]))
    train(directory, "--data", "csv:table.csv,target=c", "--model", "slow_model.py:slow", "--epochs", "1")
    return directory


@pytest.fixture(scope="module")
def novel(tmp_path_factory):
    """A directory with a run of a language model."""
    directory = tmp_path_factory.mktemp("novel")
    (directory / "novel.txt").write_text("one fish, two fish, red fish. " * 100)
    train(directory, "--data", "text:novel.txt,window=16", "--model", "gpt:depth=1,width=16,heads=2", "--steps", "5")
    return directory


def in_threads(calls):
    """Return the results of calls that are made at once, in order."""
    results = [None] * len(calls)

    def run(number):
        results[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    return results


def predicts(served, row, **options):
    return lambda: served.ask("/predict", {"inputs": [row]}, **options)


def test_time_outs_and_a_full_queue(slow):
    options = ("--max-queue", "3", "--max-batch", "1", "--timeout", "1.5")
    with Served(slow, *options, environment={"SLOW_SECONDS": "0.7"}) as served:
        answers = in_threads([predicts(served, SLOW) for _ in range(8)])
        found = sorted(status for status, _, _ in answers)
        assert found.count(503) >= 3  # one is computed, three wait; or fewer, if they came late
        assert found.count(504) >= 1
        assert found.count(200) >= 1
        for status, headers, content in answers:
            if status == 503:
                assert headers["Retry-After"] == "1"
            if status != 200:
                assert list(content) == ["error"]
        assert served.ask("/predict", {"inputs": [QUICK] * 2})[0] == 200
        assert served.count("queue_samples") == 0
        assert served.end() == (0, "", "")


@pytest.mark.parametrize(("ranks", "number"), [(1, signal.SIGTERM), (1, signal.SIGINT), (3, signal.SIGTERM)])
def test_what_was_taken_is_answered_before_the_end(slow, ranks, number):
    with Served(slow, "--max-batch", "2", ranks=ranks, environment={"SLOW_SECONDS": "0.5"}) as served:
        taken = [predicts(served, SLOW) for _ in range(6)]
        ended = []

        def end():
            until(lambda: served.count("in_flight") == 6)
            idle = socket.create_connection(("127.0.0.1", served.port), timeout=20)  # waits for nothing
            ended.append(served.end(number))
            idle.close()

        *answers, _ = in_threads([*taken, end])
        assert [status for status, _, _ in answers] == [200] * 6
        assert ended == [(0, "", "")]
        with pytest.raises(ConnectionRefusedError):
            served.ask("/health")


@pytest.mark.skipif(OPEN_MPI, reason="the same with every MPI library")
def test_a_rank_that_hangs_is_replaced(slow):
    options = ("--rank-timeout", "1", "--timeout", "20")
    with Served(slow, *options, ranks=3, environment={"SLOW_HANGS": "1"}) as served:
        assert served.ask("/predict", {"inputs": [QUICK]})[0] == 200
        began = time.monotonic()
        assert served.ask("/predict", {"inputs": [HANG]})[0] == 200  # by rank 2, in the end
        assert time.monotonic() - began > 0.9
        late = {tuple(one["ranks"]): one["late"] for one in served.ask("/health")[2]["replicas"]}
        assert late == {(0,): False, (1,): True, (2,): False}
        assert served.ask("/predict", {"inputs": [HANG]})[0] == 200
        code, _, err = served.end()
        assert code == 124
        assert "mpitrain: rank 1 has not replied for" in err
        assert "mpitrain: rank 1 did not reply in time (--rank-timeout): the service ends\n" in err


@pytest.mark.skipif(OPEN_MPI, reason="the same with every MPI library")
def test_a_service_without_ranks_ends(slow):
    options = ("--rank-timeout", "1", "--timeout", "20")
    with Served(slow, *options, ranks=2, environment={"SLOW_HANGS": "0,1"}) as served:
        answers = in_threads([lambda: quietly(served, HANG) for _ in range(2)])
        assert set(answers) <= {500, None}
        code, _, err = served.rest()
        assert code == 124
        assert err.count("the service ends") == 1


def quietly(served, row):
    """Return the status of an answer; None if there was none."""
    try:
        return served.ask("/predict", {"inputs": [row]})[0]
    except OSError:
        return None


@pytest.mark.skipif(OPEN_MPI, reason="Open MPI lets the others live")
def test_a_process_that_dies_ends_the_job(slow):
    with Served(slow, ranks=3) as served:
        os.kill(process_of(served, 2), signal.SIGKILL)
        code, _, _ = served.rest()
        assert code != 0


@pytest.mark.skipif(not OPEN_MPI, reason="only Open MPI lets ranks survive")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_is_replaced(slow, rank):
    with Served(slow, ranks=3, launcher=("--with-ft", "ulfm"), environment={"SLOW_SECONDS": "1"}) as served:

        def kill():
            time.sleep(0.5)
            os.kill(process_of(served, rank), signal.SIGKILL)

        answers = in_threads([lambda: quietly(served, SLOW) for _ in range(3)] + [kill])
        if rank:
            assert answers[:3] == [200] * 3
            assert served.ask("/health")[2]["ready"]
            assert served.end() == (0, "", "mpitrain: rank 1 is lost; the others continue\n")
        else:
            code, _, err = served.rest()
            assert code != 0
            assert "mpitrain: rank 0, which takes the requests, is lost: the service ends" in err


def process_of(served, rank):
    """Return the process of a rank below the launcher."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command, facts = (path / "cmdline").read_bytes(), (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        wanted = (b"PMI_RANK=%d" % rank, b"OMPI_COMM_WORLD_RANK=%d" % rank)
        if b"mpitrain\0serve" in command and set(wanted) & set(facts) and _is_below(int(path.name), served.process.pid):
            return int(path.name)
    raise AssertionError(f"there is no rank {rank}")


def _is_below(pid, ancestor):
    while pid > 1 and pid != ancestor:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid == ancestor


def test_texts(novel):
    asked = {"prompt": "one f", "tokens": 12, "temperature": 0.7, "seed": 3}
    with Served(novel, "--timeout", "5", ranks=2) as served:
        status, _, facts = served.ask("/generate", asked)
        assert status == 200
        assert list(facts) == ["prompt", "text", "tokens", "ended"]
        status, headers, lines = served.ask("/generate", asked | {"stream": True})
        assert (status, headers["Content-Type"]) == (200, "application/x-ndjson")
        *pieces, last = [json.loads(line) for line in lines.splitlines()]
        assert last == facts
        assert "".join(piece["piece"] for piece in pieces) == facts["text"]
        command = [sys.executable, "-m", "mpitrain", "generate", "run", "--prompt", "one f", "--tokens", "12"]
        options = ("--temperature", "0.7", "--seed", "3", "--json")
        ran = subprocess.run([*command, *options], cwd=novel, env=ENVIRONMENT, capture_output=True, timeout=60)
        assert json.loads(ran.stdout) == facts
        for wrong, text in (
            ({"prompt": ""}, "the prompt is empty"),
            ({"prompt": "a", "tokens": -1}, "tokens must be from 1"),
        ):
            status, _, content = served.ask("/generate", wrong)
            assert status == 422
            assert text in content["error"]
        assert served.ask("/predict", {"inputs": ["a"]})[0] == 404
        in_threads([lambda: served.ask("/generate", asked) for _ in range(6)])

        endless = json.dumps({"prompt": "one", "tokens": 100_000, "stream": True}).encode()
        head = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", served.port), timeout=20) as sock:
                sock.sendall(head + b"Content-Length: %d\r\n\r\n" % len(endless) + endless)
                assert sock.recv(9)
        until(lambda: served.count("in_flight") == 0)
        status, _, facts = served.ask("/generate", asked)  # by a rank that has dropped such a text
        assert status == 200
        assert served.end() == (0, "", "")
