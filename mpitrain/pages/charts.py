"""Charts of a page: lines of several runs over the steps, and bars of parts. SVG in the page's own style."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..svg import text
from ..training.display.axis import Axis, epoch_axis, tick_labels, value_axis
from ..training.display.lines import path_data
from ..training.display.score_text import is_share
from .markup import Html, element, escape, join
from .words import figure, share, short

WIDTH, HEIGHT = 360, 230  # so narrow that letters keep their size on a phone
LEFT, RIGHT, TOP, BOTTOM = 46, 346, 12, 194
MOST_DOTS = 40
LARGE = 10_000  # values whose axis has 10k in place of 10,000, for which there is no room
COLORS = 8
DASHES = {"train": "6 3", "validation": "2 2.5", "test": "", "step": ""}
BAR, GAP, LABEL = 20, 6, 64
LETTER = 6.2  # pixels of a letter of the bars, at most


@dataclass(frozen=True, eq=False)
class Line:
    """A line of a chart.

    Attributes
    ----------
    run : int
        Number of the run, which has a color and a mark.
    split : str
        train, validation, test, or step for figures of single steps.
    name : str
        What it is, in words.
    points : list of (int, float)
        Places and values, also such that are not finite: there is a gap.
    """

    run: int
    split: str
    name: str
    points: Sequence[tuple[int, float]]

    @cached_property
    def finite(self) -> list[tuple[int, float]]:
        """The points that can be drawn."""
        return [(place, value) for place, value in self.points if math.isfinite(value)]

    @property
    def starts(self) -> frozenset[int]:
        """Places of points after a gap."""
        values = [math.nan, *(value for _, value in self.points)]
        return frozenset(p for (p, _), before in zip(self.points, values, strict=False) if not math.isfinite(before))


def line_chart(key: str, name: str, lines: Sequence[Line]) -> Html:
    """Return a figure with a chart of lines over the steps; empty where there is nothing to draw.

    Parameters
    ----------
    key : str
        Unlike that of other charts of the page.
    name : str
        Name of the score, by which it is shown as a number or in percent.
    """
    lines = [line for line in lines if line.finite]
    if not lines:
        return Html()
    places = [place for line in lines for place, _ in line.finite]
    x = epoch_axis(min(places), max(places), LEFT, RIGHT)
    values = [value for line in lines for _, value in line.finite]
    percent = is_share(name) and min(values) >= 0 and max(values) <= 1
    y = value_axis(values, BOTTOM, TOP, percent=percent)
    body = [*_axes(x, y, percent=percent), *(part for line in lines for part in _drawn(name, line, x, y))]
    words = " ".join(_in_words(name, line) for line in lines)
    picture = svg(key, f"{name.capitalize()} over the steps", words, (WIDTH, HEIGHT), body)
    return element("figure", join([element("figcaption", name), picture]))


def svg(key: str, title: str, words: str, size: tuple[float, float], body: Sequence[str]) -> Html:
    """Return an SVG element with a title and a description for screen readers."""
    width, height = size
    head = f"<title id='{key}-title'>{escape(title)}</title><desc id='{key}-words'>{escape(words)}</desc>"
    names = f"role='img' aria-labelledby='{key}-title {key}-words'"
    return Html(f"<svg viewBox='0 0 {width:g} {height:g}' {names}>{head}{''.join(body)}</svg>")


def _axes(x: Axis, y: Axis, *, percent: bool) -> list[str]:
    parts = []
    large = max(map(abs, y.ticks)) >= LARGE
    for tick, label in zip(
        y.ticks, map(short, y.ticks) if large else tick_labels(y.ticks, percent=percent), strict=True
    ):
        parts.append(f"<path class='grid' d='M{LEFT} {y(tick):.1f}H{RIGHT}'/>")
        parts.append(text(label, LEFT - 6, y(tick) + 4, "right"))
    parts.append(f"<path class='base' d='M{LEFT} {BOTTOM}H{RIGHT}'/>")
    for tick in x.ticks:
        parts.append(f"<path class='base' d='M{x(tick):.1f} {BOTTOM}v4'/>")
        parts.append(text(short(tick), x(tick), BOTTOM + 17, "middle"))
    return [*parts, text("step", (LEFT + RIGHT) / 2, BOTTOM + 33, "middle")]


def _drawn(name: str, line: Line, x: Axis, y: Axis) -> list[str]:
    points, color = line.finite, f"c{line.run % COLORS}"
    kind = f"line {color}{' faint' if line.split == 'step' else ''}"
    dash = f" stroke-dasharray='{DASHES[line.split]}'" if DASHES[line.split] else ""
    parts = [f"<path class='{kind}'{dash} d='{path_data(points, line.starts, x, y)}'/>"]
    if line.split != "step" and len(points) <= MOST_DOTS:
        for place, value in points:
            words = escape(f"step {place:,}: {line.name} {figure(name, value)}")
            parts.append(
                f"<path class='mark {color}' d='{mark(line.run, x(place), y(value))}'><title>{words}</title></path>"
            )
    return parts


def mark(run: int, x: float, y: float, r: float = 3) -> str:
    """Return the path of a run's mark, so that color is not the only sign: circle, square, diamond or triangle."""
    w = 1.3 * r
    shapes = (
        f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
        f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z",
        f"M{x:.1f} {y - w:.1f}l{w:.1f} {w:.1f}l{-w:.1f} {w:.1f}l{-w:.1f} {-w:.1f}z",
        f"M{x:.1f} {y - w:.1f}l{w:.1f} {2 * w:.1f}h{-2 * w:.1f}z",
    )
    return shapes[run % len(shapes)]


def sign(kind: str, path: str) -> Html:
    """Return a small picture for a legend, which needs no words."""
    return Html(f"<svg viewBox='0 0 14 14' aria-hidden='true'><path class='{kind}' d='{path}'/></svg>")


def _in_words(name: str, line: Line) -> str:
    (first, begin), (last, end) = line.finite[0], line.finite[-1]
    if first == last:
        return f"{line.name}: {figure(name, end)} in step {last:,}."
    return f"{line.name}: from {figure(name, begin)} in step {first:,} to {figure(name, end)} in step {last:,}."


def bar_chart(key: str, title: str, rows: Sequence[tuple[str, Mapping[str, float]]], parts: Sequence[str]) -> Html:
    """Return a figure with a bar of parts of a whole for each row; the parts are named in a legend.

    Parameters
    ----------
    rows : sequence of (str, mapping)
        The name of each row, and the share of each part.
    """
    if not rows:
        return Html()
    body, words = [], []
    for number, (name, shares) in enumerate(rows):
        top, at = number * (BAR + GAP), float(LABEL)
        body.append(text(name, LABEL - 6, top + BAR / 2 + 4, "right"))
        for place, part in enumerate(parts):
            value = shares.get(part, 0.0)
            width = max(0.0, min(1.0, value if math.isfinite(value) else 0.0)) * (WIDTH - LABEL - 2)
            body.append(_bar(place, f"{name}: {part} {share(value)}", at, top, width, share(value)))
            at += width
        words.append(f"{name}: {', '.join(f'{part} {share(shares[part])}' for part in parts if part in shares)}.")
    height = len(rows) * (BAR + GAP)
    picture = svg(key, title, " ".join(words), (WIDTH, height), body)
    names = [element("li", join([sign(f"p{n}", "M0 0h14v14H0z"), part], " ")) for n, part in enumerate(parts)]
    legend = element("ul", join(names), class_="legend")
    return element("figure", join([element("figcaption", title), legend, picture]))


def _bar(place: int, words: str, x: float, y: float, width: float, label: str) -> str:
    if width < 0.05:
        return ""
    box = (
        f"<path class='p{place}' d='M{x:.1f} {y}h{width:.1f}v{BAR}h-{width:.1f}z'><title>{escape(words)}</title></path>"
    )
    fits = width > LETTER * len(label) + 6
    return box + (text(label, x + width / 2, y + BAR / 2 + 4, f"middle on{place}") if fits else "")
