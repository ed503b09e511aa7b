"""Learning curves as an SVG file, drawn without a plotting library."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...data.files import write_atomically
from ...svg import document, text
from ..results import EpochResult
from .axis import Axis, epoch_axis, tick_labels, value_axis
from .lines import path_data
from .score_text import show_scores

WIDTH, HEIGHT = 1060, 430
PANEL = 330  # pixels of the plot area of each of the two panels
LEFTS, TOP, BOTTOM = (72, 590), 118, 376
MARGIN = 24
LONGEST_TITLE = 104  # characters
MOST_DOTS = 60  # epochs; more are a line without dots
LINE_HEIGHT = 17
STYLE = """
text { font: 14px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1b232c; }
.page { fill: #ffffff; }
.title { font-size: 18px; font-weight: 600; }
.head { font-size: 15px; font-weight: 600; }
.tick { font-size: 13px; fill: #4a5563; }
.right { text-anchor: end; }
.middle { text-anchor: middle; }
.grid { stroke: #dde2e8; stroke-width: 1; }
.base { stroke: #8a95a3; stroke-width: 1; }
.line { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
.train { stroke: #b25a00; stroke-dasharray: 7 3.5; }
.test { stroke: #0b6e99; }
.dot.train { fill: #ffffff; stroke-width: 1.6; stroke-dasharray: none; }
.dot.test { fill: #0b6e99; stroke: none; }
.best { fill: none; stroke: #0b6e99; stroke-width: 1.6; }
.word.train { fill: #974c00; stroke: none; }
.word.test { fill: #0b6e99; stroke: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #e4e9ef; }
  .page { fill: #14191f; }
  .tick { fill: #a7b1bd; }
  .grid { stroke: #2c343d; }
  .base { stroke: #77828f; }
  .train { stroke: #f2a154; }
  .test { stroke: #5cc0ea; }
  .dot.train { fill: #14191f; }
  .dot.test { fill: #5cc0ea; }
  .best { stroke: #5cc0ea; }
  .word.train { fill: #f2a154; }
  .word.test { fill: #5cc0ea; }
}
"""


class Curve(NamedTuple):
    """Scores of one split by epoch or step: train, or test for the held-out split (validation or test)."""

    split: str
    word: str  # what the split is called
    points: list[tuple[int, float]]  # those that are numbers
    starts: frozenset[int]  # places of points after a gap

    @property
    def last(self) -> tuple[int, float]:
        """Position and score of the last point."""
        return self.points[-1]


def draw_curves(
    results: Sequence[EpochResult], metric: str, title: str, path: Path, best: int = 0, *, by_step: bool = False
) -> None:
    """Write the loss (left) and ``metric`` (right) of training and validation, or test, to ``path``.

    A ring marks the evaluation number ``best``. With ``by_step`` the axis has steps instead of epochs.
    """
    write_atomically(path, curves_svg(results, metric, title, best, by_step=by_step))


def curves_svg(results: Sequence[EpochResult], metric: str, title: str, best: int = 0, *, by_step: bool = False) -> str:
    """Return the SVG text of ``draw_curves``."""
    held_out = _held_out(results)
    names = ("loss", metric) if metric != "loss" else ("loss",)
    body = [text(_shortened(title), MARGIN, 34, "title"), *_legend(held_out)]
    unit, noun = ("step", "evaluation") if by_step else ("epoch", "epoch")
    places = [r.step if by_step else r.epoch for r in results]
    marked = places[best - 1] if best else 0
    words = [f"{len(results)} {noun}{'s' * (len(results) > 1)}."]
    for left, name in zip(LEFTS, names):
        curves = [curve for split in ("train", "test") if (curve := _curve(results, places, split, name)).points]
        body += _panel(left, name, (unit, places[0], places[-1]), curves, marked if name == metric else 0)
        words += [_in_words(name, curve) for curve in curves]
    if best:
        score = results[best - 1].held_out[metric]
        words.append(f"Best {held_out} {show_scores({metric: score})} in {unit} {marked}.")
    return document(
        WIDTH,
        HEIGHT,
        title=f"Loss and {metric} over the {unit}s: {title}",
        description=" ".join(words),
        style=STYLE,
        body="\n".join(body),
        background="page",
    )


def _held_out(results: Sequence[EpochResult]) -> str:
    """Return the name of the held-out split, by which choices are made."""
    return "validation" if any(r.validation for r in results) else "test"


def _curve(results: Sequence[EpochResult], places: Sequence[int], split: str, name: str) -> Curve:
    scores = [(r.train if split == "train" else r.held_out).get(name, math.nan) for r in results]
    points = [(place, score) for place, score in zip(places, scores) if math.isfinite(score)]
    starts = [place for place, score, before in zip(places, scores, [math.nan, *scores]) if not math.isfinite(before)]
    return Curve(split, split if split == "train" else _held_out(results), points, frozenset(starts))


def _in_words(name: str, curve: Curve) -> str:
    first, last = (show_scores({name: score}).removeprefix(f"{name} ") for _, score in (curve.points[0], curve.last))
    return f"{name.capitalize()}, {curve.word}: from {first} to {last}."


def _panel(left: int, name: str, axis: tuple[str, int, int], curves: list[Curve], best: int) -> list[str]:
    percent = name == "accuracy"
    unit, first, last = axis
    x = epoch_axis(first, last, left, left + PANEL)
    y = value_axis([score for curve in curves for _, score in curve.points], BOTTOM, TOP, percent=percent)
    parts = [text(name, left, TOP - 16, "head")]
    for tick, label in zip(y.ticks, tick_labels(y.ticks, percent=percent)):
        parts.append(f'<line class="grid" x1="{left}" y1="{y(tick):.1f}" x2="{left + PANEL}" y2="{y(tick):.1f}"/>')
        parts.append(text(label, left - 8, y(tick) + 4.5, "tick right"))
    parts.append(f'<line class="base" x1="{left}" y1="{BOTTOM}" x2="{left + PANEL}" y2="{BOTTOM}"/>')
    for tick in x.ticks:
        parts.append(f'<line class="base" x1="{x(tick):.1f}" y1="{BOTTOM}" x2="{x(tick):.1f}" y2="{BOTTOM + 5}"/>')
        parts.append(text(f"{tick:,.0f}", x(tick), BOTTOM + 20, "tick middle"))
    parts.append(text(unit, left + PANEL / 2, BOTTOM + 40, "tick middle"))
    for curve in curves:
        parts += _line(name, unit, curve, x, y)
    if not curves:
        parts.append(text("no finite values", left + PANEL / 2, (TOP + BOTTOM) / 2, "tick middle"))
    return parts + _best(curves, unit, best, x, y) + _end_labels(name, curves, x, y)


def _line(name: str, unit: str, curve: Curve, x: Axis, y: Axis) -> list[str]:
    parts = [f'<path class="line {curve.split}" d="{path_data(curve.points, curve.starts, x, y)}"/>']
    if len(curve.points) <= MOST_DOTS:
        for place, score in curve.points:
            words = f"<title>{unit} {place}: {curve.word} {show_scores({name: score})}</title>"
            dot = f'class="dot {curve.split}" cx="{x(place):.1f}" cy="{y(score):.1f}" r="3.2"'
            parts.append(f"<circle {dot}>{words}</circle>")
    return parts


def _best(curves: list[Curve], unit: str, place: int, x: Axis, y: Axis) -> list[str]:
    points, word = next(((dict(c.points), c.word) for c in curves if c.split == "test"), ({}, ""))
    if place not in points:
        return []
    return [
        f'<circle class="best" cx="{x(place):.1f}" cy="{y(points[place]):.1f}" r="7.5">'
        f"<title>best {word} score, {unit} {place}</title></circle>"
    ]


def _end_labels(name: str, curves: list[Curve], x: Axis, y: Axis) -> list[str]:
    """Return the last value of each curve next to its end, moved down where labels would overlap."""
    placed: list[str] = []
    lowest = BOTTOM + 2.0
    for curve in sorted(curves, key=lambda curve: -y(curve.last[1])):
        place, score = curve.last
        at = min(y(score) + 4.5, lowest)
        lowest = at - LINE_HEIGHT
        words = f"{curve.word} {show_scores({name: score}).removeprefix(f'{name} ')}"
        placed.append(text(words, x(place) + 12, at, f"word {curve.split}"))
    return placed


def _legend(held_out: str) -> list[str]:
    parts, at, y = [], MARGIN, 62
    for split, words, width in (("train", "training", 124), ("test", held_out, 98 if held_out == "test" else 134)):
        parts += [
            f'<path class="line {split}" d="M{at} {y}h34"/>',
            f'<circle class="dot {split}" cx="{at + 17}" cy="{y}" r="3.2"/>',
            text(words, at + 42, y + 5),
        ]
        at += width
    return [
        *parts,
        f'<circle class="best" cx="{at + 8}" cy="{y}" r="7.5"/>',
        text(f"best {held_out} score", at + 24, y + 5),
    ]


def _shortened(title: str) -> str:
    half = LONGEST_TITLE // 2
    return title if len(title) <= LONGEST_TITLE else f"{title[:half]} \u2026 {title[-half:]}"
