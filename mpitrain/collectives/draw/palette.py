"""Colours that colour-blind people tell apart (Okabe & Ito 2008), by rank; the second eight are hatched as well.

Colour is never the only sign: a contribution has its own place in a chunk, and its number.
"""

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#8F6BC9")
REDUCE, COPY = "#0072B2", "#D55E00"


def colour(number: int) -> str:
    """Return the colour of a rank (or of a chunk)."""
    return COLOURS[number % len(COLOURS)]


def is_hatched(number: int) -> bool:
    """Tell whether the colour is of the second turn (the fourth, ...)."""
    return number // len(COLOURS) % 2 == 1
