"""The norm of the gradient, and the factor that clips it."""

import math

from ..arena import HEADER, Arena
from ..ops.update import sum_of_squares


def global_norm(arena: Arena) -> float:
    """Return the Euclidean norm of all gradients in the arena (header excluded)."""
    return math.sqrt(sum_of_squares(arena.gradients[HEADER:]))


def clip_factor(norm: float, max_norm: float) -> float:
    """Return what to multiply gradients of ``norm`` by so that it is at most ``max_norm`` (Pascanu et al. 2013).

    >>> clip_factor(10.0, 1.0), clip_factor(0.5, 1.0)
    (0.1, 1.0)
    """
    return min(1.0, max_norm / norm) if norm > 0 else 1.0
