"""Lines of charts, with no more points than can be seen."""

import math
from collections.abc import Collection, Sequence

from .axis import Axis

MOST_POINTS = 600  # of a line, about two a pixel: more cannot be seen

Point = tuple[int, float]


def path_data(points: Sequence[Point], starts: Collection[int], x: Axis, y: Axis) -> str:
    """Return the ``d`` of an SVG path through ``points``.

    Parameters
    ----------
    points : sequence of (int, float)
        Places and finite values.
    starts : collection of int
        Places of points after a gap, where the line begins anew; thinned lines have none.
    """
    path: list[str] = []
    for place, value in thinned(points):
        gap = not path or (place in starts and len(points) <= MOST_POINTS)
        path.append(f"{'M' if gap else 'L'}{x(place):.1f} {y(value):.1f}")
    return "".join(path)


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Return at most ``MOST_POINTS`` points: the lowest and the highest of each longer stretch, in order."""
    size = math.ceil(2 * len(points) / MOST_POINTS)
    if size <= 2:
        return points
    kept: list[Point] = []
    for i in range(0, len(points), size):
        stretch = points[i : i + size]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept
