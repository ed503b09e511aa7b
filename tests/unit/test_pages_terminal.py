"""A run in the terminal: curves where they belong, 80 columns, lines in a pipe."""

import json
import math
import os
import pty
import subprocess
import sys
import time

import numpy as np
import pytest

from mpitrain.cli.main import main
from mpitrain.pages import run as runs
from mpitrain.pages.run import Run, open_run
from mpitrain.pages.state import State
from mpitrain.pages.terminal import DOTS, EMPTY, HEIGHT, LABEL, view
from tests.run_files import START, evaluation, lines, write_run


def dots_of(rows):
    """Return the dots of rows of Braille, (4 * rows, 2 * columns) bool."""
    codes = np.array([[ord(char) - EMPTY if char != " " else 0 for char in row] for row in rows])
    bits = (codes[:, None, :, None] & np.array(DOTS)[None, :, None, :]) > 0
    return bits.reshape(4 * len(rows), -1)


def write_losses(path, losses):
    path.mkdir()
    steps = [{"kind": "step", "step": k + 1, "epoch": 1, "loss": loss, "lr": 0.1} for k, loss in enumerate(losses)]
    (path / "metrics.jsonl").write_text(lines(steps))
    return open_run(path)


def chart_of(run, width):
    shown = view(run, width)
    first = shown.index(f"{'':{LABEL}}loss of each step") + 1
    return [row[LABEL:].ljust(width - LABEL - 1) for row in shown[first : first + HEIGHT]]


@pytest.mark.parametrize("count", [40, 139, 140, 3000])
def test_dots_are_where_the_losses_are(tmp_path, count):
    """Each column has the dots of its steps; between two steps there is a line."""
    losses = [1 + math.sin(6 * k / count) for k in range(count)]
    dots = dots_of(chart_of(write_losses(tmp_path / "run", losses), 80))
    assert dots.shape == (36, 140)
    assert dots.any(axis=0).all()
    for k, loss in enumerate(losses):
        row, column = 35 * (1 - loss / 2), round(k * 139 / (count - 1))
        assert dots[max(0, math.floor(row)) : math.ceil(row) + 1, column].any()
    middle = np.array([np.flatnonzero(column).mean() for column in dots.T])
    expected = np.interp(np.arange(140), np.arange(count) * 139 / (count - 1), [35 * (1 - loss / 2) for loss in losses])
    assert np.abs(middle - expected).max() < 3.5


def test_the_view_fits_and_says_all(tmp_path):
    run = open_run(write_run(tmp_path / "run"))
    for width in (20, 80, 200):
        for braille in (True, False):
            shown = view(run, width, braille=braille)
            assert max(map(len, shown)) <= width
            assert braille or "".join(shown).replace("\u2013", "-").isascii()
    text = "\n".join(view(run, 80))
    for words in ("run\nEnded: all steps are done.", "loss of each step", "validation accuracy", "95%", "step 40;"):
        assert words in text
    assert "  test       loss 0.1, accuracy 90.00%\n  time       compute 70% input 5% waiting 5% sync 20%" in text


def test_nothing_yet(tmp_path):
    run = Run(tmp_path / "none")
    run.update()
    assert view(run, 80) == ["none", "There is no such directory now.", "", "no step yet"]
    assert view(write_losses(tmp_path / "nan", [math.nan]), 80)[-1] == "step 1"


def test_lines_in_a_pipe_end_with_the_run(tmp_path, capsys, monkeypatch):
    """A run that is begun, resumed and ended while it is watched."""
    path = tmp_path / "run"
    moves = iter(
        [
            lambda: write_run(path, report=None, events=[START], steps=20),
            lambda: (path / "metrics.jsonl").write_text(lines([evaluation(10)])),
            lambda: (path / "metrics.jsonl").write_text(lines([evaluation(10), evaluation(20)])),
            lambda: (path / "report.json").write_text(json.dumps({"steps": 20})),
        ]
    )

    def instead(seconds):
        if seconds == 1.0:
            next(moves)()

    states = iter(["waiting", "running", "running", "running", "ended"])

    def next_state(*arguments, **facts):
        kind = next(states)
        return State(kind, {"ended": "Ended."}.get(kind, kind))

    monkeypatch.setattr(runs, "find_state", next_state)
    monkeypatch.setattr(time, "sleep", instead)
    assert main(["watch", str(path), "--terminal"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["run: waiting", "run: running"]
    assert [line.split()[1] for line in out if line.startswith("step")] == ["10", "20", "20"]
    assert out[-1] == "run: Ended."


def test_a_terminal_shows_the_picture(tmp_path):
    write_run(tmp_path / "run")
    main_end, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mpitrain", "watch", "run", "--terminal"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=end,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "50", "PYTHONIOENCODING": "utf-8"},
    )
    os.close(end)
    shown = b""
    while True:
        try:
            part = os.read(main_end, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(main_end)
    assert process.wait(timeout=20) == 0
    text = shown.decode()
    assert "loss of each step" in text
    assert "Ended: all steps are done." in text
