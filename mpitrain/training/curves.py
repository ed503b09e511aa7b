"""Learning curves as an SVG file, drawn without a plotting library."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..svg import document, text
from .axis import Axis, epoch_axis, tick_labels, value_axis
from .progress import show_scores
from .results import EpochResult
from .weights import write_atomically

WIDTH, HEIGHT = 1060, 430
PANEL = 330  # pixels of the plot area of each of the two panels
LEFTS, TOP, BOTTOM = (72, 590), 118, 376
MARGIN = 24
LONGEST_TITLE = 104  # characters
MOST_DOTS = 60  # epochs; more are a line without dots
MOST_POINTS = 600  # of a line, about two a pixel: more cannot be seen
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
    """The scores of one split, by epoch: train, or test where that is the split to choose by, validation or test."""

    split: str
    word: str  # what the split is called
    points: list[tuple[int, float]]  # those that are numbers

    @property
    def last(self) -> tuple[int, float]:
        """The epoch and score of the end of the line."""
        return self.points[-1]


def draw_curves(results: Sequence[EpochResult], metric: str, title: str, path: Path, best_epoch: int = 0) -> None:
    """Write the loss (left) and ``metric`` (right) of training and validation, or test, to ``path``.

    A ring marks ``best_epoch``.
    """
    write_atomically(path, curves_svg(results, metric, title, best_epoch))


def curves_svg(results: Sequence[EpochResult], metric: str, title: str, best_epoch: int = 0) -> str:
    """Return the SVG text of ``draw_curves``."""
    held_out = _held_out(results)
    names = ("loss", metric) if metric != "loss" else ("loss",)
    body = [text(_shortened(title), MARGIN, 34, "title"), *_legend(held_out)]
    words = [f"{len(results)} epochs." if len(results) > 1 else "1 epoch."]
    for left, name in zip(LEFTS, names):
        curves = [curve for split in ("train", "test") if (curve := _curve(results, split, name)).points]
        body += _panel(left, name, results, curves, best_epoch if name == metric else 0)
        words += [_in_words(name, curve) for curve in curves]
    if best_epoch:
        best = results[best_epoch - 1].held_out
        words.append(f"Best {held_out} {show_scores({metric: best[metric]})} in epoch {best_epoch}.")
    return document(
        WIDTH,
        HEIGHT,
        title=f"Loss and {metric} over the epochs: {title}",
        description=" ".join(words),
        style=STYLE,
        body="\n".join(body),
        background="page",
    )


def _held_out(results: Sequence[EpochResult]) -> str:
    """Return the name of the split to choose by."""
    return "validation" if any(r.validation for r in results) else "test"


def _curve(results: Sequence[EpochResult], split: str, name: str) -> Curve:
    scores = [(r.epoch, (r.train if split == "train" else r.held_out).get(name, math.nan)) for r in results]
    return Curve(
        split,
        split if split == "train" else _held_out(results),
        [(epoch, score) for epoch, score in scores if math.isfinite(score)],
    )


def _in_words(name: str, curve: Curve) -> str:
    first, last = (show_scores({name: score}).removeprefix(f"{name} ") for _, score in (curve.points[0], curve.last))
    return f"{name.capitalize()}, {curve.word}: from {first} to {last}."


def _panel(left: int, name: str, results: Sequence[EpochResult], curves: list[Curve], best_epoch: int) -> list[str]:
    percent = name == "accuracy"
    x = epoch_axis(results[0].epoch, results[-1].epoch, left, left + PANEL)
    y = value_axis([score for curve in curves for _, score in curve.points], BOTTOM, TOP, percent=percent)
    parts = [text(name, left, TOP - 16, "head")]
    for tick, label in zip(y.ticks, tick_labels(y.ticks, percent=percent)):
        parts.append(f'<line class="grid" x1="{left}" y1="{y(tick):.1f}" x2="{left + PANEL}" y2="{y(tick):.1f}"/>')
        parts.append(text(label, left - 8, y(tick) + 4.5, "tick right"))
    parts.append(f'<line class="base" x1="{left}" y1="{BOTTOM}" x2="{left + PANEL}" y2="{BOTTOM}"/>')
    for tick in x.ticks:
        parts.append(f'<line class="base" x1="{x(tick):.1f}" y1="{BOTTOM}" x2="{x(tick):.1f}" y2="{BOTTOM + 5}"/>')
        parts.append(text(f"{tick:,.0f}", x(tick), BOTTOM + 20, "tick middle"))
    parts.append(text("epoch", left + PANEL / 2, BOTTOM + 40, "tick middle"))
    for curve in curves:
        parts += _line(name, curve, x, y)
    if not curves:
        parts.append(text("no finite values", left + PANEL / 2, (TOP + BOTTOM) / 2, "tick middle"))
    return parts + _best(curves, best_epoch, x, y) + _end_labels(name, curves, x, y)


def _line(name: str, curve: Curve, x: Axis, y: Axis) -> list[str]:
    path, before = [], None
    for epoch, score in _thinned(curve.points):
        gap = before is None or (epoch != before + 1 and len(curve.points) <= MOST_POINTS)
        path.append(f"{'M' if gap else 'L'}{x(epoch):.1f} {y(score):.1f}")
        before = epoch
    parts = [f'<path class="line {curve.split}" d="{"".join(path)}"/>']
    if len(curve.points) <= MOST_DOTS:
        for epoch, score in curve.points:
            words = f"<title>epoch {epoch}: {curve.word} {show_scores({name: score})}</title>"
            dot = f'class="dot {curve.split}" cx="{x(epoch):.1f}" cy="{y(score):.1f}" r="3.2"'
            parts.append(f"<circle {dot}>{words}</circle>")
    return parts


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return at most ``MOST_POINTS`` points: of a stretch of more its lowest and its highest, in order."""
    size = math.ceil(2 * len(points) / MOST_POINTS)
    if size <= 2:
        return points
    kept: list[tuple[int, float]] = []
    for i in range(0, len(points), size):
        stretch = points[i : i + size]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept


def _best(curves: list[Curve], epoch: int, x: Axis, y: Axis) -> list[str]:
    points, word = next(((dict(c.points), c.word) for c in curves if c.split == "test"), ({}, ""))
    if epoch not in points:
        return []
    return [
        f'<circle class="best" cx="{x(epoch):.1f}" cy="{y(points[epoch]):.1f}" r="7.5">'
        f"<title>best {word} score, epoch {epoch}</title></circle>"
    ]


def _end_labels(name: str, curves: list[Curve], x: Axis, y: Axis) -> list[str]:
    """Return the last value of each curve beside its end, one below the other where they would overlap."""
    placed: list[str] = []
    lowest = BOTTOM + 2.0
    for curve in sorted(curves, key=lambda curve: -y(curve.last[1])):
        epoch, score = curve.last
        at = min(y(score) + 4.5, lowest)
        lowest = at - LINE_HEIGHT
        words = f"{curve.word} {show_scores({name: score}).removeprefix(f'{name} ')}"
        placed.append(text(words, x(epoch) + 12, at, f"word {curve.split}"))
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
