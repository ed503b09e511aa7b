"""Speed-up over the number of ranks as an SVG file: measured, predicted, by a fitted law, and ideal."""

import math
from collections.abc import Sequence

from ...scaling.study import Study
from ...svg import document, text
from .axis import Axis

WIDTH, HEIGHT = 720, 520
LEFT, RIGHT, TOP, BOTTOM = 84, 690, 118, 440
LONGEST_TITLE = 76  # characters
MOST_TICKS = 10
POINTS = 60  # of a curve
RADIUS = {"measured": 5, "predicted": 7.5}
STYLE = """
text { font: 14px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1b232c; }
.page { fill: #ffffff; }
.title { font-size: 18px; font-weight: 600; }
.tick { font-size: 13px; fill: #4a5563; }
.right { text-anchor: end; }
.middle { text-anchor: middle; }
.grid { stroke: #dde2e8; stroke-width: 1; }
.base { stroke: #8a95a3; stroke-width: 1; }
.ideal { fill: none; stroke: #8a95a3; stroke-width: 1.6; stroke-dasharray: 2 4; }
.law { fill: none; stroke: #0b6e99; stroke-width: 2.2; }
.band { fill: #0b6e99; fill-opacity: 0.16; stroke: none; }
.measured { fill: #0b6e99; stroke: none; }
.predicted { fill: none; stroke: #b25a00; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #e4e9ef; }
  .page { fill: #14191f; }
  .tick { fill: #a7b1bd; }
  .grid { stroke: #2c343d; }
  .base, .ideal { stroke: #77828f; }
  .law { stroke: #5cc0ea; }
  .band, .measured { fill: #5cc0ea; }
  .predicted { stroke: #f2a154; }
}
"""


def scaling_svg(study: Study, title: str, most: int = 0) -> str:
    """Return the SVG text of a study, with the law continued up to ``most`` ranks; both axes are logarithmic."""
    ranks = [one.case.ranks for one in study.scaling]
    ends = ranks if study.law is None else [*ranks, *study.further(most)]
    values = [study.speedup(one) for one in study.scaling]
    x = _doublings(min(ends), max(ends), LEFT, RIGHT)
    y = _doublings(min(*values, 1.0), max(ends) / ranks[0], BOTTOM, TOP)
    base = study.base.case.ranks
    shown = title if len(title) <= LONGEST_TITLE else f"{title[: LONGEST_TITLE - 1]}\u2026"
    body = [text(shown, 24, 34, "title"), *_legend(study), *_grid(x, y, base)]
    body.append(_curve("ideal", [(n, n / base) for n in (min(ends), max(ends))], x, y))
    body += _law(study, x, y, (min(ends), max(ends)))
    for one in study.scaling:
        body.append(_dot("measured", one.case.ranks, study.speedup(one), x, y))
    for case, prediction in study.predictions.items():
        guess = study.base.parts.total / prediction.parts.total * case.batch / study.base.case.batch
        body.append(_dot("predicted", case.ranks, guess, x, y))
    words = [f"{n} ranks: {value:.2f} times as fast." for n, value in zip(ranks, values, strict=True)]
    return document(
        WIDTH,
        HEIGHT,
        title=f"Speed-up over the ranks: {title}",
        description=" ".join(words),
        style=STYLE,
        body="\n".join(body),
        background="page",
    )


def _doublings(low: float, high: float, begin: float, end: float) -> Axis:
    """Return an axis of base-2 logarithms whose ticks are powers of two."""
    first, last = math.floor(math.log2(low) + 1e-9), math.ceil(math.log2(high) - 1e-9)
    last = max(last, first + 1)
    step = math.ceil((last - first) / MOST_TICKS)
    return Axis(first, last, begin, end, tuple(float(k) for k in range(first, last + 1, step)))


def _grid(x: Axis, y: Axis, base: int) -> list[str]:
    parts = []
    for tick in y.ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y(tick):.1f}" x2="{RIGHT}" y2="{y(tick):.1f}"/>')
        parts.append(text(f"{2**tick:g}", LEFT - 8, y(tick) + 4.5, "tick right"))
    parts.append(f'<line class="base" x1="{LEFT}" y1="{BOTTOM}" x2="{RIGHT}" y2="{BOTTOM}"/>')
    for tick in x.ticks:
        parts.append(f'<line class="base" x1="{x(tick):.1f}" y1="{BOTTOM}" x2="{x(tick):.1f}" y2="{BOTTOM + 5}"/>')
        parts.append(text(f"{2**tick:,.0f}", x(tick), BOTTOM + 20, "tick middle"))
    parts.append(text("ranks", (LEFT + RIGHT) / 2, BOTTOM + 42, "tick middle"))
    return [*parts, text(f"speed-up over {base} rank{'s' * (base != 1)}", 24, TOP - 16, "tick")]


def _law(study: Study, x: Axis, y: Axis, ends: tuple[int, int]) -> list[str]:
    law, base = study.law, study.base.case.ranks
    if law is None:
        return []
    ratio = (ends[1] / ends[0]) ** (1 / (POINTS - 1))
    places = [ends[0] * ratio**k for k in range(POINTS)]
    first = law.speedup(base)
    curve = _curve("law", [(n, law.speedup(n) / first) for n in places], x, y)
    if law.error is None:
        return [curve]
    bands = [law.band(n) for n in places]
    starts = law.band(base)
    below = [(n, low / starts[0]) for n, (low, _) in zip(places, bands, strict=True)]
    above = [(n, high / starts[1]) for n, (_, high) in zip(places, bands, strict=True)]
    return [_curve("band", [*below, *reversed(above)], x, y), curve]


def _curve(kind: str, points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> str:
    path = "L".join(f"{x(math.log2(n)):.1f} {y(math.log2(value)):.1f}" for n, value in points)
    return f'<path class="{kind}" d="M{path}"/>'


def _dot(kind: str, ranks: int, value: float, x: Axis, y: Axis) -> str:
    words = f"<title>{ranks} ranks: {kind}, {value:.2f} times as fast</title>"
    place = f'cx="{x(math.log2(ranks)):.1f}" cy="{y(math.log2(value)):.1f}" r="{RADIUS[kind]}"'
    return f'<circle class="{kind}" {place}>{words}</circle>'


def _legend(study: Study) -> list[str]:
    dot = '<circle class="{}" cx="{}" cy="62" r="{}"/>'
    line = '<path class="{}" d="M{} 62h28"/>'
    parts: list[str] = []
    at = 24
    entries: list[tuple[str, str, int, int]] = [("measured", "measured", 24, 112)]
    if study.predictions:
        entries.append(("predicted", "predicted", 24, 116))
    if study.law is not None:
        band = "" if study.law.error is None else ", with 95% band"
        entries.append(("law", f"{study.law.law}'s law{band}", 38, 262))
    entries.append(("ideal", "ideal", 38, 90))
    for kind, words, indent, width in entries:
        parts.append(dot.format(kind, at + 8, RADIUS[kind]) if kind in RADIUS else line.format(kind, at))
        parts.append(text(words, at + indent, 67))
        at += width
    return parts
