"""Multipliers for exact division by a number known beforehand: struct FastDivide of kernels/common/divide.cuh."""

from functools import lru_cache

import numpy as np

MOST = 2**31 - 1  # of dividends and divisors
FAST_DIVIDE = np.dtype([(name, np.uint32) for name in ("divisor", "multiplier", "shift")])


@lru_cache(maxsize=4096)
def fast_divide(divisor: int) -> tuple[int, int, int]:
    """Return (divisor, multiplier, shift), each below 2**32.

    n // divisor == (n * multiplier // 2**32 + n) >> shift for 0 <= n < 2**31. Source: Granlund and Montgomery 1994,
    "Division by invariant integers using multiplication", figure 4.1.

    Raises
    ------
    ValueError
        If ``divisor`` is below 1 or above 2**31 - 1.

    >>> divisor, multiplier, shift = fast_divide(7)
    >>> (100 * multiplier // 2**32 + 100) >> shift
    14
    """
    if not 1 <= divisor <= MOST:
        raise ValueError(f"a division by {divisor}: it must be 1 to {MOST}")
    shift = (divisor - 1).bit_length()
    return divisor, ((1 << 32) * ((1 << shift) - divisor)) // divisor + 1, shift


def divide_record(divisor: int) -> np.ndarray:
    """Return the argument of a kernel that divides by ``divisor``."""
    return np.array(fast_divide(divisor), FAST_DIVIDE)
