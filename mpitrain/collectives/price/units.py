"""Formatting of bytes and seconds, and parsing of lengths.

65536, 64K, 64KiB     1024 bytes are 1 KiB, and K alone stands for it, as in the options of OSU's benchmarks, of
                      nccl-tests and of the tools of a Unix system; so do M and MiB, G and GiB, T and TiB
64KB, 64kB            1000 bytes are 1 kB, 10^6 are 1 MB, as in GB/s
"""

import re

from ...errors import UserError

BINARY, DECIMAL = ("B", "KiB", "MiB", "GiB", "TiB"), ("B", "kB", "MB", "GB", "TB")
LENGTH = re.compile(r"(\d+(?:\.\d*)?(?:e\d+)?)\s*(?:([kmgt])(i?)(b?)|b)?", re.IGNORECASE)


def say_bytes(num_bytes: float, beside: float | None = None) -> str:
    """Return the text of a length: in KiB, MiB, ...; in kB, MB, ... if it is a round number of those only.

    Parameters
    ----------
    num_bytes : float
    beside : float, optional
        Use the unit of this length.

    Examples
    --------
    >>> say_bytes(1.3 * 2**20), say_bytes(4), say_bytes(65536), say_bytes(1_500_000)
    ('1.3 MiB', '4 B', '64 KiB', '1.5 MB')
    >>> say_bytes(1_750_000, beside=1_000_000)
    '1.8 MB'
    """
    said = num_bytes if beside is None else beside
    binary, decimal = _scaled(said, 1024.0, BINARY), _scaled(said, 1000.0, DECIMAL)
    is_decimal = read_bytes(binary) != said == read_bytes(decimal)
    return _scaled(num_bytes, 1000.0, DECIMAL) if is_decimal else _scaled(num_bytes, 1024.0, BINARY)


def say_seconds(seconds: float) -> str:
    """Return the text of a time.

    Examples
    --------
    >>> say_seconds(0.0021), say_seconds(6.4e-6), say_seconds(12)
    ('2.1 ms', '6.4 us', '12 s')
    """
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{_short(seconds * factor)} {unit}"
    return f"{_short(seconds)} s"


def read_bytes(text: str, option: str = "a length", least: int = 0) -> int:
    """Return the number of bytes in a text.

    Parameters
    ----------
    text : str
    option : str
        Name of the option, for the message.
    least : int
        Least number of bytes.

    Raises
    ------
    UserError
        If it is not a length, or too short.

    Examples
    --------
    >>> read_bytes("64MiB"), read_bytes("64M"), read_bytes("64MB"), read_bytes("4"), read_bytes("1.5 k")
    (67108864, 67108864, 64000000, 4, 1536)
    """
    found = LENGTH.fullmatch(text.strip().replace("_", ""))
    if not found:
        raise UserError(f"{option} is a number of bytes, as 4096, 64KiB or 1.5MB, not {text!r}")
    number, unit, binary, byte = found.groups()
    base = 1000 if byte and not binary else 1024
    num_bytes = int(float(number) * base ** ("kmgt".index(unit.lower()) + 1 if unit else 0))
    if num_bytes < least:
        raise UserError(f"{option} is {text}, but must be at least {least} byte{'s' * (least != 1)}")
    return num_bytes


def _scaled(num_bytes: float, base: float, units: tuple[str, ...]) -> str:
    value, unit = float(num_bytes), 0
    while value >= base - 0.5 and unit < len(units) - 1:
        value, unit = value / base, unit + 1
    return f"{_short(value)} {units[unit]}"


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:.0f}"
