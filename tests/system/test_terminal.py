"""Output on terminals of several widths, and in pipes: real pseudo-terminals, real jobs."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest

from .conftest import ENVIRONMENT

CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
RING = """
from mpitrain.collectives.all_reduce import ring as shipped

def ring(rank, size):
    yield from shipped(rank, size)
"""
COLORS = {name: value for name, value in ENVIRONMENT.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
MPITRAIN = (sys.executable, "-m", "mpitrain")


WIDTHS = [pytest.param(60, marks=pytest.mark.any_mpi), 80, pytest.param(120, marks=pytest.mark.any_mpi)]


def on_terminal(directory, command, columns, timeout=90, environment=None):
    """Run ``command`` on a pseudo-terminal; return (exit code, all that was shown between two moves of the cursor)."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        command, cwd=directory, env=COLORS | (environment or {}),
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    found, end = b"", time.monotonic() + timeout
    try:
        while time.monotonic() < end:
            if select.select([ours], [], [], 0.2)[0]:
                with contextlib.suppress(OSError):  # the last process has closed its end
                    data = os.read(ours, 65536)
                    found += data
                    if data:
                        continue
                break
            if process.poll() is not None:
                break
        else:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"{command} hung for {timeout} s\n{found.decode(errors='replace')}")
        return process.wait(timeout=20), re.split(r"[\r\n]+", CONTROL.sub("", found.decode()))
    finally:
        os.close(ours)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("start", ["mpirun", "-n", "alone"])
def test_a_run_on_a_terminal(tmp_path, columns, start):
    launch = {"mpirun": ("mpirun", "-n", "2", *MPITRAIN), "-n": (*MPITRAIN, "-n", "2"), "alone": MPITRAIN}[start]
    options = ("--epochs", "3", "--out", "run", "--batch-size", "8")
    code, shown = on_terminal(tmp_path, [*launch, *options], columns)
    assert code == 0, shown
    bars = [line for line in shown if "━" in line or "╺" in line]
    assert len(bars) > 2, shown
    for line in bars:
        assert len(line.rstrip()) <= columns, line
        assert re.search(r"epoch [123]/3 \S+ +\d+/180 left (\d+:\d\d|-:--), run (\d+:\d\d|-:--)", line), line
    assert max(int(re.search(r"(\d+)/180", line)[1]) for line in bars) >= 90
    epochs = [line.rstrip() for line in shown if re.match(r"epoch [123]/3  t", line)]
    assert len(epochs) == 3
    for line in epochs:
        assert len(line) <= columns, line
        assert re.search(r"  test loss \d+(\.\d+)? acc(uracy)? \d+\.\d\d%", line), line
        assert all(re.fullmatch(r"[\d.,]+%?|\d+/\d+|\d\.\d+e-\d+", word) for word in line.split() if word[0].isdigit())
    text = " ".join(" ".join(shown).split())
    assert "weights in run/model.safetensors; also report.json" in text
    times = [line for line in shown if re.match(r"rank \d ", line)]
    assert len(times) == (1 if start == "alone" else 2)
    assert all(len(re.findall(r"\d+%", line)) == 4 for line in times)


def test_a_wide_terminal_shows_everything(tmp_path):
    code, shown = on_terminal(tmp_path, ["mpirun", "-n", "2", *MPITRAIN, "--epochs", "2", "--out", "run"], 200)
    assert code == 0, shown
    epochs = [line for line in shown if re.match(r"epoch [12]/2  ", line)]
    assert len(epochs) == 2
    assert all("samples/s  compute" in line and "train loss" in line for line in epochs)


@pytest.mark.parametrize("columns", WIDTHS)
def test_bench_is_as_wide_as_the_terminal_of_mpirun(tmp_path, columns):
    folder = tmp_path / "courses" / "hpc2026" / "homework" / "of_a_student_with_a_long_name"
    folder.mkdir(parents=True)
    (folder / "exercise5_own.py").write_text(RING.replace("def ring", "def one") + RING.replace("def ring", "def two"))
    names = [f"{folder.relative_to(tmp_path)}/exercise5_own.py:{name}" for name in ("one", "two")]
    command = ["mpirun", "-n", "2", *MPITRAIN, "collective", "bench", *names, "--bytes", "1KiB", "4KiB"]
    code, shown = on_terminal(tmp_path, command, columns)
    assert code == 0, shown
    rows = [line.rstrip() for line in shown if re.match(r" *\d+ KiB ", line)]
    assert len(rows) == 6
    assert all(len(line) <= columns for line in rows)
    assert all(re.search(r" \d+(\.\d+)? (us|ms) +\d+\.\d\d$", line) for line in rows), rows
    if columns == 120:
        assert sum(names[0] in line for line in rows) == sum(names[1] in line for line in rows) == 2
    else:
        assert sum("_own.py:one " in line for line in rows) == sum("_own.py:two " in line for line in rows) == 2


@pytest.mark.any_mpi
@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize(
    "arguments",
    [("kernel", "list"), ("collective", "list"), ("collective", "price", "-n", "64"), ("doctor",), ("help",),
     ("train", "--dry-run"), ("kernel",), ("collective", "show", "ring", "-n", "4")],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.any_mpi
def test_everything_else_fits_a_terminal(tmp_path, columns, arguments):
    code, shown = on_terminal(tmp_path, [*MPITRAIN, *arguments], columns)
    assert code == 0, shown
    legend = "the contributions in each chunk"  # of the drawing, 79 columns wide
    assert [line for line in shown if len(line.rstrip()) > columns and not line.startswith(legend)] == []


def test_pipes_get_complete_lines(mpitrain, tmp_path):
    (tmp_path / "exercise4_ring.py").write_text(RING)
    name = "exercise4_ring.py:ring"
    jobs = [
        (2, "--epochs", 1, "--out", "run"),
        (2, "collective", "bench", name, "--bytes", "1KiB"),
        (1, "collective", "price", name, "-n", 16),
        (1, "collective", "list"),
        (1, "kernel", "list"),
        (2, "doctor"),
        (2, "--dry-run"),
    ]
    for job in jobs:
        code, out, err = mpitrain(*job)
        assert code == 0, err
        assert [line for line in out.splitlines() if line != line.rstrip()] == []
        assert "…" not in out
        assert name not in job or name in out
    assert re.search(r"^epoch 1/1  train loss .* test loss .* samples/s  compute \d+%", mpitrain(
        2, "--epochs", 1, "--out", "again")[1], re.MULTILINE)  # fmt: skip


@pytest.mark.parametrize("out", ["runs/[/red]x", "runs/:smile:", "runs/[bold red]y[/]", "runs/a b"])
@pytest.mark.any_mpi
def test_names_are_printed_as_they_are(mpitrain, tmp_path, out):
    table, columns = "table[1]:ok:.csv", ("length [m]", "rate [/s]")
    rows = "".join(f"{i / 10},{i / 5 + 1}\n" for i in range(60))
    (tmp_path / table).write_text(f"{','.join(columns)}\n{rows}")
    (tmp_path / "exercise4_ring.py").write_text(RING)
    algorithm = "exercise4_ring.py:ring"
    data = ("--data", f"csv:{table},target={columns[1]}", "--model", "mlp", "--epochs", 1)
    exchange = ("--shard", "none", "--all-reduce", algorithm)
    code, said, err = mpitrain(2, *data, *exchange, "--out", out, "--checkpoint-every", 1)
    assert code == 0, err
    assert f"{table.removesuffix('.csv')}: 48 training and 12 test samples" in said
    assert f"'{columns[1]}'" in said
    assert f"gradients: {algorithm} all-reduce" in said
    assert f"weights in {out}/model.safetensors" in said
    report = json.loads((tmp_path / out / "report.json").read_text())
    assert report["all_reduce"] == algorithm
    again = mpitrain(2, "--resume", out, "--epochs", 2)
    assert again[0] == 0, again
    assert f"resumed after step 1 from {out}/checkpoints/" in again[1]
    code, said, err = mpitrain(2, *data, "--out", out)
    assert code == 2
    assert out in err


def test_control_characters_are_printed_as_escapes(mpitrain, tmp_path):
    code, said, err = mpitrain(2, "--epochs", 1, "--model", "mlp", "--out", "runs/\x1b[31mred\n\x07")
    assert code == 0, err
    assert "\x1b" not in said
    assert "weights in runs/\\x1b[31mred\\n\\x07/model.safetensors" in said
    assert (tmp_path / "runs" / "\x1b[31mred\n\x07" / "report.json").is_file()


def test_n_starts_the_ranks(tmp_path):
    def start(*arguments):
        done = subprocess.run(
            [*MPITRAIN, *arguments], cwd=tmp_path, env=plain(), capture_output=True, text=True, timeout=90
        )
        return done.returncode, done.stdout, done.stderr

    code, out, err = start("-n", "3", "--epochs", "1", "--out", "run", "--model", "mlp")
    assert code == 0, err
    assert out.startswith("3 ranks")
    assert json.loads((tmp_path / "run" / "report.json").read_text())["ranks"] == 3
    assert start("-n", "9", "evaluate", "run")[0] == 0  # more than cores
    code, _, err = start("-n", "2", "evaluate", "nowhere")
    assert code == 2
    assert "mpitrain: nowhere is no run directory" in err
    code, out, _ = start("-n", "1", "evaluate", "run", "--json")
    assert code == 0
    assert 0 < json.loads(out)["accuracy"] <= 1


def plain():
    """Return the environment of a user who knows nothing of Open MPI's variables."""
    return {name: value for name, value in ENVIRONMENT.items() if not name.startswith(("OMPI_", "PRTE_"))}


def test_signals_reach_the_ranks(tmp_path):
    command = [*MPITRAIN, "-n", "2", "--epochs", "100000", "--out", "run", "--model", "mlp", "--progress", "lines"]
    job = subprocess.Popen(
        command, cwd=tmp_path, env=plain(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert job.stdout is not None
        for line in job.stdout:
            if line.startswith("epoch"):
                break
        job.send_signal(signal.SIGTERM)
        out, _ = job.communicate(timeout=60)
    finally:
        job.kill()
    assert job.returncode != 0
    assert (tmp_path / "run" / "checkpoints").is_dir(), out


def test_no_harmless_errors_of_open_mpi(mpitrain):
    code, _, err = mpitrain(2, "--epochs", 1, "--model", "mlp", "--out", "run")
    assert code == 0
    assert "OSC UCX" not in err
    assert "rror" not in err


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.any_mpi
def test_a_dry_run_writes_nothing(mpitrain, tmp_path, ranks):
    code, out, err = mpitrain(ranks, "--dry-run", "--epochs", 3)
    assert code == 0, err
    assert re.search(r"^2 +Conv2d +8 x 8 x 32 +4,640$", out, re.MULTILINE)
    assert re.search(r"^all +38,282$", out, re.MULTILINE)
    assert re.search(r"^weights +150 KiB", out, re.MULTILINE)
    assert "steps: 23 an epoch, 69 in 3 epochs" in out
    assert list(tmp_path.iterdir()) == []
