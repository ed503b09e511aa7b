"""The norm of the gradient, and the factor that clips it."""

import math

from ..arena import HEADER, Arena
from ..ops.reduce import sum_of_squares, sum_of_squares_in_parts

PARTS = 256  # blocks that sum squares: enough to read a GPU's memory at full speed


def global_norm(arena: Arena) -> float:
    """Return the Euclidean norm of all gradients in the arena (header excluded)."""
    return math.sqrt(sum_of_squares(arena.gradients[HEADER:]))


class QueuedNorm:
    """The norm of a device's gradients: queued after their sum, and read when the host waits for the device anyway.

    ``squares`` (PARTS,) on the device add up to its square.
    """

    def __init__(self, arena: Arena):
        self._arena = arena
        self.squares = arena.device.zeros((PARTS,))
        self._read = arena.device.pinned_empty((PARTS,))

    def queue(self) -> None:
        """Queue the sums of squares, and their copy to the host."""
        sum_of_squares_in_parts(self._arena.gradients[HEADER:], self.squares)
        self._arena.device.copy_to_host(self._read, self.squares)

    def value(self) -> float:
        """Return the norm; the host has waited for the device since ``queue``."""
        return math.sqrt(math.fsum(map(float, self._read)))


def clip_factor(norm: float, max_norm: float) -> float:
    """Return the factor that reduces gradients of ``norm`` to at most ``max_norm`` (Pascanu et al. 2013).

    >>> clip_factor(10.0, 1.0), clip_factor(0.5, 1.0)
    (0.1, 1.0)
    """
    return min(1.0, max_norm / norm) if norm > 0 else 1.0
