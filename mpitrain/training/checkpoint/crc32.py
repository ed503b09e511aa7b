"""Combination of CRC-32 checksums, so that several ranks check one tensor together.

A checksum is the remainder of the data, seen as a polynomial over the two-element field, divided by a fixed one; data
that is followed by n bytes is multiplied by x^8n. So the checksum of a followed by b is that of a, times x^8n, plus
that of b (zlib's crc32_combine does the same). Bit 31 of a number here stands for x^0, as in zlib.
"""

from functools import lru_cache

POLYNOMIAL = 0xEDB88320  # x^32 + x^26 + ... + 1, without its first term and reversed: Ethernet's, gzip's
ONE = 1 << 31


def combine(first: int, second: int, second_length: int) -> int:
    """Return the CRC-32 of two pieces of data joined, the second of ``second_length`` bytes.

    Examples
    --------
    >>> import zlib
    >>> combine(zlib.crc32(b"all"), zlib.crc32(b"reduce"), 6) == zlib.crc32(b"allreduce")
    True
    """
    return _multiply(_shift(second_length), first) ^ second


def crc_of_zeros(num_bytes: int) -> int:
    """Return the CRC-32 of so many bytes that are 0.

    Examples
    --------
    >>> import zlib
    >>> crc_of_zeros(1000) == zlib.crc32(bytes(1000))
    True
    """
    return _multiply(_shift(num_bytes), 0xFFFFFFFF) ^ 0xFFFFFFFF


@lru_cache(maxsize=4096)
def _shift(num_bytes: int) -> int:
    """Return x^(8 num_bytes)."""
    result, power = ONE, ONE >> 8  # power: x^8, x^16, x^32 ...
    while num_bytes:
        if num_bytes & 1:
            result = _multiply(result, power)
        power = _multiply(power, power)
        num_bytes >>= 1
    return result


def _multiply(a: int, b: int) -> int:
    product, bit = 0, ONE
    while bit:
        if a & bit:
            product ^= b
        b = b >> 1 ^ (POLYNOMIAL if b & 1 else 0)
        bit >>= 1
    return product
