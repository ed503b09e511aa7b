"""A run in the terminal: curves of dots, the last scores, speed and time shares.

A character of Braille has 2 x 4 dots, and so a line of few characters shows many steps. Where the terminal cannot
show them, dots are asterisks.
"""

import math
from collections.abc import Sequence

import numpy as np

from ..training.display.axis import Axis, tick_labels, value_axis
from ..training.display.score_text import is_share
from .run import SPLITS, Run
from .words import figures, many, share, short

HEIGHT = 9  # rows of a chart
LABEL = 9  # columns of the labels of an axis
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bits of U+2800 by row and column
EMPTY = 0x2800
FINE = 8  # places in a column at which a line between two points is looked at
Points = Sequence[tuple[int, float]]


def view(run: Run, width: int, *, braille: bool = True) -> list[str]:
    """Return the lines that show a run now.

    Parameters
    ----------
    width : int
        Columns of the terminal.
    braille : bool
        The terminal shows characters that are not ASCII.
    """
    lines = [run.name, run.state.text, *run.problems, ""]
    steps = list(zip(run.steps.steps, run.steps.losses, strict=True))
    lines += _chart("loss of each step", steps, width, percent=False, braille=braille)
    name = _main_score(run)
    if name:
        split = _held_out(run)
        points = [(e.step, e.scores.get(split, {}).get(name, math.nan)) for e in run.evaluations]
        lines += _chart(f"{split} {name}", points, width, percent=is_share(name), braille=braille)
    lines += _now(run)
    return [line[:width].rstrip() for line in lines]


def _main_score(run: Run) -> str:
    """Return the score that is drawn: the one after the loss, of the split by which choices are made."""
    names = run.evaluations[-1].scores.get(_held_out(run), {}) if run.evaluations else {}
    return next((name for name in names if name != "loss"), next(iter(names), ""))


def _held_out(run: Run) -> str:
    return "validation" if run.evaluations and "validation" in run.evaluations[-1].scores else "test"


def _now(run: Run) -> list[str]:
    lines = [f"step {run.steps.last:,}" if run.steps.last else "no step yet"]
    speed = run.steps_per_second
    if not math.isnan(speed):
        lines[0] += f", {many(speed, 'steps/s')}"
    if not run.evaluations:
        return lines
    last = run.evaluations[-1]
    lines[0] += f"; evaluated in step {last.step:,}, epoch {last.epoch}: {many(last.samples_per_second, 'samples/s')}"
    lines += [f"  {split:10} {figures(last.scores[split])}" for split in SPLITS if split in last.scores]
    shares = " ".join(f"{name} {share(value)}" for name, value in last.time_share.items())
    return [*lines, f"  time       {shares}"] if shares else lines


def evaluation_line(run: Run, number: int) -> str:
    """Return one line about an evaluation, for an output that is no terminal."""
    e = run.evaluations[number]
    scores = "  ".join(f"{split} {figures(e.scores[split])}" for split in SPLITS if split in e.scores)
    return f"step {e.step} epoch {e.epoch}  {scores}  {many(e.samples_per_second, 'samples/s')}"


def _chart(title: str, points: Points, width: int, *, percent: bool, braille: bool) -> list[str]:
    """Return the lines of a chart over the steps; empty without values."""
    points = [(step, value) for step, value in points if math.isfinite(value)]
    columns = width - LABEL - 1
    if not points or columns < 10:
        return []
    dots_wide, dots_high = (2 * columns, 4 * HEIGHT) if braille else (columns, HEIGHT)
    values = [value for _, value in points]
    percent &= min(values) >= 0 and max(values) <= 1
    y = value_axis(values, dots_high - 1, 0, percent=percent)
    dots = _dots(points, y, dots_wide, dots_high)
    rows = _braille(dots) if braille else ["".join("*" if dot else " " for dot in row) for row in dots]
    labels = _labels(y, dots_high, percent=percent)
    first, last = short(points[0][0]), short(points[-1][0])
    foot = f"{first}{' ' * max(1, columns - len(first) - len(last))}{last}"
    body = [f"{labels.get(k, ''):>{LABEL - 1}} {row}" for k, row in enumerate(rows)]
    return [f"{'':{LABEL}}{title}", *body, f"{'':{LABEL}}{foot}", ""]


def _dots(points: Points, y: Axis, wide: int, high: int) -> np.ndarray:
    """Return the dots of a line, (high, wide) bool: in each column from its lowest to its highest place."""
    steps = np.array([step for step, _ in points], np.float64)
    rows = np.array([y(value) for _, value in points])
    places = (steps - steps[0]) * ((wide - 1) / max(1.0, steps[-1] - steps[0]))
    between = np.linspace(0, places[-1], FINE * wide)
    columns = np.rint(np.concatenate([places, between])).astype(int)
    heights = np.rint(np.concatenate([rows, np.interp(between, places, rows)])).astype(int)
    lowest, highest = np.full(wide, high), np.full(wide, -1)
    np.minimum.at(lowest, columns, heights)
    np.maximum.at(highest, columns, heights)
    at = np.arange(high)[:, None]
    dots: np.ndarray = (at >= lowest) & (at <= highest)
    return dots


def _braille(dots: np.ndarray) -> list[str]:
    high, wide = dots.shape
    bits = np.array(DOTS)[None, :, None, :] * dots.reshape(high // 4, 4, wide // 2, 2)
    codes = EMPTY + bits.sum(axis=(1, 3))
    return ["".join(map(chr, row)).replace(chr(EMPTY), " ") for row in codes.tolist()]


def _labels(y: Axis, dots_high: int, *, percent: bool) -> dict[int, str]:
    """Return the labels of ticks by the row of characters that they are in."""
    texts = tick_labels(y.ticks, percent=percent)
    return {int(round(y(tick)) * HEIGHT // dots_high): text for tick, text in zip(y.ticks, texts, strict=True)}
