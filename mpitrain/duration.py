"""Durations as text, such as 10m and 1h30m."""

import re

from .errors import UserError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_time(text: str) -> float:
    """Return seconds.

    Raises
    ------
    UserError
        For what is no time.

    Examples
    --------
    >>> parse_time("10m"), parse_time("1h30m"), parse_time("0.5s"), parse_time("12:30:00")
    (600.0, 5400.0, 0.5, 45000.0)
    """
    if match := re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text):
        raise UserError(f"{text!r} is no time: write 90s, 10m, 1h30m, 2d or 12:30:00")
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)([smhd])", text))


def check_interval(text: str) -> None:
    """Raise a UserError for text that is neither a number of steps nor a time."""
    if text and not text.isdecimal():
        try:
            parse_time(text)
        except UserError:
            raise UserError(f"{text!r} is neither a number of steps nor a time: write 100, 90s, 10m or 1h30m") from None
