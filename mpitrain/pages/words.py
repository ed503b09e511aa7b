"""Numbers, times and places in the words of the pages."""

import math
import time
from collections.abc import Mapping

from ..plain_text import binary_size
from ..training.display.score_text import show_score

MISSING = "\u2013"


def figure(name: str, value: float) -> str:
    """Return a score, or a dash where it is not a number."""
    return MISSING if math.isnan(value) else show_score(name, value)


def figures(scores: Mapping[str, float]) -> str:
    """Return all scores with their names."""
    return ", ".join(f"{name} {figure(name, value)}" for name, value in scores.items()) or MISSING


def many(value: float, unit: str = "") -> str:
    """Return a number with separators, or a dash.

    >>> many(12345.6, "samples/s"), many(0.25), many(float("nan"))
    ('12,346 samples/s', '0.25', '\u2013')
    """
    if math.isnan(value):
        return MISSING
    shown = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{shown} {unit}" if unit else shown


def share(value: float) -> str:
    """Return a share in percent, or a dash."""
    return MISSING if math.isnan(value) else f"{value:.0%}"


def size(num_bytes: float) -> str:
    """Return bytes with a unit, or a dash."""
    return MISSING if math.isnan(num_bytes) else binary_size(num_bytes)


def short(value: float) -> str:
    """Return a whole number in a few characters, for an axis.

    >>> short(950), short(12000), short(2500000)
    ('950', '12k', '2.5M')
    """
    for unit, scale in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= scale:
            return f"{value / scale:.4g}{unit}"
    return f"{value:.0f}"


def moment(seconds: float) -> str:
    """Return a point in time, in the zone of this host; a dash where it is unknown."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return MISSING


def duration(seconds: float) -> str:
    """Return a length of time.

    >>> duration(0.0964), duration(75.2), duration(7384)
    ('0.096 s', '1 min 15 s', '2 h 3 min')
    """
    if math.isnan(seconds):
        return MISSING
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
