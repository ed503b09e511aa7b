"""Bytes and seconds in words: 1.3 MB, 2.1 ms (1 KB is 1024 bytes, as in the sizes that benchmarks step through)."""

import re

from ...errors import UserError

UNITS = ("B", "KB", "MB", "GB", "TB")


def say_bytes(num_bytes: float) -> str:
    """Return a length in words.

    Examples
    --------
    >>> say_bytes(1.3 * 2**20), say_bytes(4), say_bytes(65536)
    ('1.3 MB', '4 B', '64 KB')
    """
    value, unit = float(num_bytes), 0
    while value >= 1023.5 and unit < len(UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{_short(value)} {UNITS[unit]}"


def say_seconds(seconds: float) -> str:
    """Return a time in words.

    Examples
    --------
    >>> say_seconds(0.0021), say_seconds(6.4e-6), say_seconds(12)
    ('2.1 ms', '6.4 us', '12 s')
    """
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{_short(seconds * factor)} {unit}"
    return f"{_short(seconds)} s"


def read_bytes(text: str) -> int:
    """Return a length from words.

    Examples
    --------
    >>> read_bytes("64MB"), read_bytes("4"), read_bytes("1.5 k")
    (67108864, 4, 1536)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?", text.strip().upper())
    if not found:
        raise UserError(f"a length is a number of bytes as 4096, 64KB or 1.5MB, not {text!r}")
    power = ("" + " KMGT").index(found[2] or " ")
    return int(float(found[1]) * 1024**power)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:.0f}"
