"""Parallel coordinates: an axis for each parameter and one for the objective, a line for each trial."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..svg import text
from ..sweeps.parameters import Parameter
from ..sweeps.plan import say_value
from ..sweeps.results import Row
from ..training.display.axis import Axis, tick_labels, value_axis
from ..training.display.score_text import is_share, show_score
from .charts import svg
from .markup import Html, element, escape, join, scrolling

LEAST_DISTANCE, MOST_DISTANCE, USUAL_WIDTH, HEIGHT = 118, 240, 760, 300
TOP, BOTTOM, MARGIN = 40, 262, 56
MOST_LINES = 400  # more cannot be told apart
MOST_TICKS = 8
LETTERS = 12  # of a label
GOOD = 0.2  # share of the trials whose lines stand out


@dataclass(frozen=True)
class Place:
    """A label of an axis and its height in pixels."""

    label: str
    y: float


class ParameterAxis:
    """The axis of a parameter: numbers by their size or its logarithm, others at equal distances.

    Parameters
    ----------
    parameter : Parameter
    """

    def __init__(self, parameter: Parameter):
        self._parameter, self.name = parameter, parameter.name

    def y(self, value: object) -> float:
        """Return the height of a value."""
        one = self._parameter
        if not one.is_range:
            place = next((i for i, other in enumerate(one.values) if _same(other, value)), 0)
            return BOTTOM + (TOP - BOTTOM) * (place + 0.5) / len(one.values)
        low, high, number = (_scaled(v, one.log) for v in (one.low, one.high, float(str(value))))
        return BOTTOM + (TOP - BOTTOM) * min(1.0, max(0.0, (number - low) / (high - low)))

    def places(self) -> list[Place]:
        """Return the labels."""
        one = self._parameter
        if not one.is_range:
            step = math.ceil(len(one.values) / MOST_TICKS)
            return [Place(say_value(value), self.y(value)) for value in one.values[::step]]
        middle = math.sqrt(one.low * one.high) if one.log else (one.low + one.high) / 2
        values = dict.fromkeys([one.low, one.fit(middle), one.high])
        return [Place(f"{value:.3g}", self.y(value)) for value in values]


def parallel_coordinates(rows: Sequence[Row], parameters: Sequence[Parameter], metric: str) -> Html:
    """Return the figure; empty without parameters or trials that have a value.

    Parameters
    ----------
    rows : sequence of Row
        The best first.
    """
    shown = [row for row in rows if row.has_value][:MOST_LINES]
    if not shown or not parameters:
        return Html()
    axes = [ParameterAxis(parameter) for parameter in parameters]
    values = [row.state.value for row in shown]
    percent = is_share(metric) and min(values) >= 0 and max(values) <= 1
    last = value_axis(values, BOTTOM, TOP, percent=percent)
    step = max(LEAST_DISTANCE, min(MOST_DISTANCE, USUAL_WIDTH // len(axes)))  # pixels between two axes
    width = 2 * MARGIN + step * len(axes)
    good = max(1, round(GOOD * len(shown)))
    lines = [_line(row, axes, last, step, metric, _kind(place, good)) for place, row in enumerate(shown)]
    body = [*reversed(lines), *_drawn_axes(axes, last, step, metric, percent=percent)]
    words = f"{len(shown)} trials; the best has {metric} {show_score(metric, values[0])}."
    picture = svg("coordinates", "Parameters and objective of the trials", words, (width, HEIGHT), body)
    picture = Html(picture.replace("<svg ", f"<svg style='width: {width}px' ", 1))
    note = "" if len(shown) == 1 else f"The best of {len(shown)} trials stands out."
    if good > 1:
        note = f"The {good} best of {len(shown)} trials stand out, the very best most."
    if any(axis.name not in row.values for row in shown for axis in axes):
        note += " A line has a gap where a parameter does not apply."
    legend = element("p", note, class_="soft") if note else Html()
    return element("figure", join([legend, scrolling("parallel coordinates", picture)]), class_="wide")


def _kind(place: int, good: int) -> str:
    return "line c1 first" if place == 0 else "line c0" if place < good else "line c7 faint"


def _line(row: Row, axes: Sequence[ParameterAxis], last: Axis, step: int, metric: str, kind: str) -> str:
    """Return the line of a trial; it has a gap where a parameter is left out."""
    path, drawing = "", False
    for place, axis in enumerate(axes):
        if axis.name not in row.values:
            drawing = False
            continue
        x, y = MARGIN + step * place, axis.y(row.values[axis.name])
        path += f"{'L' if drawing else 'M'}{x} {y:.1f}"
        drawing = True
    path += f"{'L' if drawing else 'M'}{MARGIN + step * len(axes)} {last(row.state.value):.1f}"
    said = ", ".join(f"{name} {say_value(value)}" for name, value in row.values.items())
    words = f"trial {row.trial.number + 1}: {metric} {show_score(metric, row.state.value)}; {said}"
    return f"<path class='{kind}' d='{path}'><title>{escape(words)}</title></path>"


def _drawn_axes(axes: Sequence[ParameterAxis], last: Axis, step: int, metric: str, *, percent: bool) -> list[str]:
    parts = []
    for place, axis in enumerate(axes):
        parts += _axis(axis.name, MARGIN + step * place, axis.places())
    labels = tick_labels(last.ticks, percent=percent)
    places = [Place(label, last(tick)) for label, tick in zip(labels, last.ticks, strict=True)]
    return parts + _axis(metric, MARGIN + step * len(axes), places)


def _axis(name: str, x: float, places: Sequence[Place]) -> list[str]:
    parts = [text(_cut(name, 2 * LETTERS), x, TOP - 20, "middle head"), f"<path class='base' d='M{x} {TOP}V{BOTTOM}'/>"]
    for place in places:
        parts.append(f"<path class='base' d='M{x - 3} {place.y:.1f}h6'/>")
        parts.append(text(_cut(place.label, LETTERS), x - 6, place.y + 4, "right halo"))
    return parts


def _cut(label: str, letters: int) -> str:
    return label if len(label) <= letters else f"\u2026{label[1 - letters :]}"


def _scaled(value: float, log: bool) -> float:
    return math.log(max(value, 5e-324)) if log else value


def _same(one: object, other: object) -> bool:
    """Return whether two values are equal, also after they were written as JSON, where a tuple is a list."""
    if isinstance(one, tuple) or isinstance(other, tuple):
        return list(one) == list(other) if isinstance(other, list | tuple) and isinstance(one, list | tuple) else False
    return type(one) is type(other) and one == other
