"""Colors for ranks that are distinct for color-blind readers (Okabe & Ito 2008); the second eight are hatched.

Color is never the only sign: a contribution also has its own place in a chunk, and its number.
"""

COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#8F6BC9")
REDUCE, COPY = "#0072B2", "#D55E00"


def color(number: int) -> str:
    """Return the color of a rank (or of a chunk)."""
    return COLORS[number % len(COLORS)]


def is_hatched(number: int) -> bool:
    """Return whether the color is of the second cycle (the fourth, ...)."""
    return number // len(COLORS) % 2 == 1
