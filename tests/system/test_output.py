"""Whatever becomes of the output, training continues; commands whose product is their output say that it failed."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

from .conftest import ENVIRONMENT, OPEN_MPI

TINY = ("--model", "mlp", "--widths", "4", "--task", "regression", "--data", "csv:tiny.csv,target=y", "--timeout", "20")
RANKS = pytest.mark.parametrize("ranks", [1, 2])
IMPATIENT = """
import sys
from mpitrain.cli import async_writer
from mpitrain.cli.main import main
async_writer.SOFT = 30_000
sys.exit(main(sys.argv[1:]))
"""
LAST = re.compile(r"weights in \S+; also report.json, metrics.jsonl, curves.svg\n")


@pytest.fixture
def command(tmp_path):
    """Return a function that makes a command line for ``ranks``; 1 goes without mpirun."""
    (tmp_path / "tiny.csv").write_text("a,b,y\n" + "".join(f"{i},{i * i % 7},{i % 5}\n" for i in range(30)))

    def make(ranks, *arguments, program=("-m", "mpitrain")):
        launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
        return [*launcher, sys.executable, *program, *map(str, arguments)]

    return make


def run(command, cwd, timeout=90, environment=None, **options):
    """Run a command to its end, in a process group that is killed if it does not come."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    environment = ENVIRONMENT | (environment or {})
    process = subprocess.Popen(command, cwd=cwd, env=environment, start_new_session=True, **options)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"it hung for {timeout} s: {out!r} {err!r}")
    return process.returncode, *((text or b"").decode(errors="replace") for text in (out, err))


def shell(line, words, cwd, **options):
    return run(["bash", "-o", "pipefail", "-c", line, "-", *words], cwd, **options)


def report(directory):
    return json.loads((directory / "report.json").read_text())


@RANKS
def test_a_reader_that_has_seen_enough(command, tmp_path, ranks):
    line = '"$@" | head -2'
    code, out, err = shell(line, command(ranks, *TINY, "--epochs", 40, "--out", "run"), tmp_path)
    assert code == 0, err
    assert out.count("\n") == 2
    assert report(tmp_path / "run")["epochs"] == 40
    trouble = report(tmp_path / "run")["output"]
    if ranks == 1 or not OPEN_MPI:  # Open MPI's mpirun takes what nobody reads
        assert err.count("its reader has closed it; training continues") == 1, err
        assert trouble["standard output"]["lines_lost"] > 30
    assert "Traceback" not in err


@RANKS
def test_a_full_disk(command, tmp_path, ranks):
    code, _, err = shell('"$@" > /dev/full', command(ranks, *TINY, "--epochs", 5, "--out", "run"), tmp_path)
    assert code == 0, err
    assert report(tmp_path / "run")["epochs"] == 5
    if ranks == 1 or not OPEN_MPI:
        assert err.count("standard output: No space left on device; training continues") == 1, err
        assert report(tmp_path / "run")["output"]["standard output"]["error"] == "No space left on device"
    code, out, _ = shell('"$@" 2> /dev/full', command(ranks, *TINY, "--epochs", 5, "--out", "run2"), tmp_path)
    assert code == 0
    assert LAST.search(out)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams(command, tmp_path, closed):
    words = command(1, *TINY, "--epochs", 5, "--out", "run", "--checkpoint-every", 3)
    code, _, err = shell(f'"$@" {closed}', words, tmp_path)
    assert code == 0, err
    assert report(tmp_path / "run")["epochs"] == 5
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line)  # nothing was printed into a file that got the descriptor
    code, out, _ = shell('"$@"', command(1, "--resume", "run", "--epochs", 6), tmp_path)
    assert code == 0
    assert "resumed after step 5" in out


@RANKS
def test_a_reader_that_pauses_for_the_whole_run(command, tmp_path, ranks):
    words = command(ranks, *TINY, "--epochs", 1600, "--out", "run", "--progress", "lines", program=("-c", IMPATIENT))
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(words, cwd=tmp_path, env=ENVIRONMENT, start_new_session=True, **pipes)
    try:
        until = time.monotonic() + 200
        while not (tmp_path / "run" / "curves.svg").exists():
            assert time.monotonic() < until, "training waits for the reader"
            assert process.poll() is None
            time.sleep(0.1)
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    text = out.decode()
    assert process.returncode == 0, err
    assert report(tmp_path / "run")["epochs"] == 1600
    assert LAST.search(text)
    lines = text.splitlines()
    gaps = [int(m[1].replace(",", "")) for m in re.finditer(r"\[([\d,]+) lines were left out here: ", text)]
    shown = [int(line.split()[1].split("/")[0]) for line in lines if line.startswith("epoch ")]
    assert shown == sorted(set(shown))
    assert (shown[0], shown[-1]) == (1, 1600)
    assert len(shown) + sum(gaps) == 1600
    if ranks == 1 or not OPEN_MPI:  # Open MPI's mpirun keeps all in its own memory
        known = report(tmp_path / "run")["output"]["standard output"]["lines_left_out"]
        assert 0 < known <= sum(gaps) <= known + 40  # the report itself pushed some more out


def test_a_reader_that_pauses_does_not_keep_a_single_process(command, tmp_path):
    words = command(1, *TINY, "--epochs", 900, "--out", "run", "--progress", "lines")
    read, write = os.pipe()
    process = subprocess.Popen(words, cwd=tmp_path, env=ENVIRONMENT, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    try:
        assert process.wait(90) == 0  # what is left is more than the pipe had room for
        out = b""
        while block := os.read(read, 65536):
            out += block
    finally:
        process.kill()
        process.communicate()
        os.close(read)
    assert len(out) > 70_000  # more than a pipe holds
    assert LAST.search(out.decode())
    assert sum(line.startswith(b"epoch ") for line in out.splitlines()) == 900


@RANKS
def test_a_terminal_that_is_stopped(command, tmp_path, ranks):
    words = command(ranks, *TINY, "--epochs", 300, "--out", "run", "--progress", "bar")
    terminal, end = pty.openpty()
    environment = ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=end, stderr=subprocess.PIPE
    )
    os.close(end)
    try:
        until = time.monotonic() + 60
        while not (tmp_path / "run" / "curves.svg").exists():  # nobody reads meanwhile
            assert time.monotonic() < until, "training waits for the terminal"
            time.sleep(0.1)
        out = b""
        os.set_blocking(terminal, False)
        until = time.monotonic() + 60
        while True:
            assert time.monotonic() < until
            try:
                out += os.read(terminal, 65536)
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:  # the last process that had it open is gone, and all is read
                break
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
        os.close(terminal)
    assert b"report.json, metrics.jsonl, curves.svg" in out


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
@pytest.mark.parametrize("kind", ["lines", "bar"])
@pytest.mark.any_mpi
def test_terminals_that_know_few_characters(command, tmp_path, environment, kind):
    name = os.fsencode("l\u00e4uft \u2713 ") + b"\xff\x7f"
    words = command(2, *TINY, "--epochs", 2, "--progress", kind, "--out")
    code, out, err = run([*words, name], tmp_path, environment=environment)
    assert code == 0, err
    assert report(tmp_path / os.fsdecode(name))["output"] == {}
    assert "\x7f" not in out
    assert r"\xff\x7f/model.safetensors" in out
    code, out, err = run([*command(1, "evaluate"), name], tmp_path, environment=environment)
    assert code == 0, err
    assert "30" in out or "samples" in out
    resumed = [*command(1, "--epochs", 2, "--resume"), name]
    code, out, err = run(resumed, tmp_path, environment=environment)
    assert (code, out.count("is finished: there is nothing to resume")) == (0, 1), err


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["collective", "list"], ["evaluate", "run", "--json"]])
@pytest.mark.any_mpi
def test_a_product_that_cannot_be_written_is_an_error(command, tmp_path, words):
    if "run" in words:
        assert run(command(1, *TINY, "--epochs", 1, "--out", "run"), tmp_path)[0] == 0
    for where, reason in ((">&-", "Bad file descriptor"), ("> /dev/full", "No space left on device")):
        code, _, err = shell(f'"$@" {where}', command(1, *words), tmp_path)
        assert (code, err) == (1, f"mpitrain: cannot write the standard output: {reason}\n")
    for where in ("2>&-", "2> /dev/full"):
        code, out, _ = shell(f'"$@" {where}', command(1, *words), tmp_path)
        assert code == 0
        assert out
    code, _, err = shell('exec 3> >(exec true); sleep 0.3; "$@" >&3', command(1, *words), tmp_path)
    assert (code, err) == (141, "")


def test_mistakes_are_told_where_the_output_is_closed(command, tmp_path):
    for where in (">&-", "> /dev/full", "| true"):
        code, _, err = shell(f'"$@" {where}', command(1, "--epochs", 0), tmp_path)
        assert code == 2
        assert err == "mpitrain: --epochs is 0, but must be at least 1\n"
    assert shell('"$@" 2>&-', command(1, "--epochs", 0), tmp_path)[0] == 2
