import io
import re

import pytest

from mpitrain.training.display.bar import Bar, BarLine
from mpitrain.training.display.console import PlainConsole
from mpitrain.training.display.progress import make_progress
from mpitrain.training.display.progress_log import ProgressLog, Silent, epoch_line
from mpitrain.training.display.time_left import TimeLeft
from mpitrain.training.results import EpochResult
from mpitrain.training.step_timer import Times

TIMES = Times(compute=0.28, input=0.33, waiting=0.20, sync=0.19)
NUMBER = re.compile(r"\d")


def result(epoch, loss, accuracy):
    return EpochResult(epoch, 46, 0.1, {"loss": loss, "accuracy": accuracy}, {"loss": 0.05119, "accuracy": 0.9806},
                       13197.0, 1.0, TIMES)  # fmt: skip


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def bar_line(width, *, epoch=2, epochs=40, steps=23, done=12, clock=None):
    """Return what a bar shows, a second a step, at ``width`` columns."""
    clock = clock or Clock()
    bar = BarLine(epochs, TimeLeft(epochs, clock))
    bar.start(epoch, steps, 0)
    for _ in range(done):
        clock.now += 1.0
        bar.step({"loss": 1.258, "accuracy": 0.6602}, 4125.3, TIMES)
    console = PlainConsole(lambda: width)
    console.file = io.StringIO()
    console.print(bar, end="")
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue()).rstrip("\n")


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("case", [{}, {"epoch": 100, "epochs": 1000, "steps": 23456, "done": 50}])
def test_a_bar_keeps_its_bar_count_and_times(width, case):
    line = bar_line(width, **case)
    assert len(line) <= width
    assert line.count("━") + line.count("╸") + line.count("╺") >= 4
    assert re.search(r"epoch +\d+/\d+ ", line)
    assert f" {case.get('done', 12)}/{case.get('steps', 23)} " in line.replace("  ", " ")
    assert re.search(r" left (\d+:)?\d+:\d\d, run ((\d+:)?\d+:\d\d|\d+ d)( |$)", line)


def test_a_bar_drops_shares_then_speed_then_scores():
    shown = {width: bar_line(width) for width in (200, 120, 80, 66, 60)}
    assert [name for name in ("loss", "accuracy", "samples/s", "compute") if name in shown[200]] == [
        "loss", "accuracy", "samples/s", "compute"]  # fmt: skip
    assert "samples/s" in shown[120]
    assert "compute" not in shown[120]
    assert "accuracy 66.02%" in shown[80]
    assert "samples/s" not in shown[80]
    assert "loss 1.258" in shown[66]
    assert "accuracy" not in shown[66]
    assert "loss" not in shown[60]


@pytest.mark.parametrize("width", [None, 200, 120, 80, 60, 40])
def test_epoch_lines_fit_and_keep_whole_parts(width):
    lines = [epoch_line(result(e, loss, acc), 10, width) for e, loss, acc in ((1, 1.988, 0.3807), (10, 0.006405, 1.0))]
    whole = epoch_line(result(10, 0.006405, 1.0), 10).replace("accuracy", "acc")
    assert all(len(line) <= (width or 1000) for line in lines)
    words = {word for word in whole.split() if NUMBER.search(word)}
    assert {word for word in lines[1].split() if NUMBER.search(word)} <= words, "a number was cut"
    assert "98.06%" in lines[1]
    labels = [re.sub(r"[\d.,%]+", "#", " ".join(line.split())) for line in lines]
    assert labels[0] == labels[1], "parts come and go from epoch to epoch"
    if width is None or width >= 200:
        assert "compute 28%" in lines[0]
    if width == 80:
        assert lines[1] == "epoch 10/10  train loss 0.006405 acc 100.00%  test loss 0.05119 acc 98.06%"
    if width == 60:
        assert lines[1] == "epoch 10/10  test loss 0.05119 acc 98.06%"


def test_lines_of_a_log_are_complete(capsys):
    ProgressLog(PlainConsole(), 10).epoch_done(result(3, 1.5, 0.5))
    out = capsys.readouterr().out
    assert out == (
        "epoch  3/10  train loss 1.5 accuracy 50.00%  test loss 0.05119 accuracy 98.06%  13,197 samples/s"
        "  compute 28% input 33% waiting 20% sync 19%\n"
    )


def test_notes_are_no_markup_and_no_escapes(capsys):
    ProgressLog(PlainConsole(), 1).note("runs/[/red]x:smile: \x1b[31m")
    assert capsys.readouterr().out == "runs/[/red]x:smile: \\x1b[31m\n"
    Silent(PlainConsole(), 1).note("[/red]\x1b[31m")
    assert capsys.readouterr().err == "mpitrain: [/red]\\x1b[31m\n"


def test_auto_is_a_bar_on_a_terminal_that_can_move_its_cursor(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert type(make_progress("auto", PlainConsole(lambda: 80), 1)) is Bar
    assert type(make_progress("auto", PlainConsole(), 1)) is ProgressLog
    monkeypatch.setenv("TERM", "dumb")
    assert type(make_progress("auto", PlainConsole(lambda: 80), 1)) is ProgressLog


def test_time_left_counts_evaluations():
    clock = Clock()
    left = TimeLeft(3, clock)
    assert left.of_run is None
    left.start_epoch(1, 10)
    assert left.of_epoch is None
    for step in range(10):
        clock.now += 2.0
        left.step(step + 1)
    assert (left.of_epoch, left.of_run) == (0.0, 40.0)
    clock.now += 5.0  # of evaluation
    left.start_epoch(2, 10)
    assert (left.of_epoch, left.of_run) == (20.0, 50.0)
    clock.now += 2.0
    left.step(1)
    assert (left.of_epoch, left.of_run) == (18.0, 48.0)


def test_time_left_of_an_epoch_that_is_resumed():
    clock = Clock()
    left = TimeLeft(2, clock)
    left.start_epoch(1, 10, done=8)
    for step in (9, 10):
        clock.now += 1.0
        left.step(step)
    clock.now += 3.0
    left.start_epoch(2, 10)
    assert (left.of_epoch, left.of_run) == (10.0, 13.0)
