"""Dropout masks from a counter: any row of any step can be drawn alone, so a batch can be split anywhere.

Shapes: mask (N, D). Row i is sample first + i of the step.

The generator is Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), a cipher of a 256-bit
counter under a key. The counter's words are (block, 0, step, layer), and the key is the seed. Each tick gives 256
bits, that is 16 elements of 16 bits; each sample starts at a tick of its own.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from .dispatch import op
from .elementwise import multiply
from .workspace import Keep, workspace

ELEMENTS_PER_TICK = 16
TICKS_AT_ONCE = 1024  # 32 KB of random bits


class Masks(NamedTuple):
    """The masks that a layer draws in one step.

    Attributes
    ----------
    p : float
        The part that is dropped.
    position : tuple of int
        (seed, layer, step, first): the sample that is row 0 is sample ``first`` of the step.
    counters : (2,) int64 array of a device, or None
        Step and first, instead of those in ``position`` (see ``dropout_mask``).
    """

    p: float
    position: tuple[int, int, int, int]
    counters: Any = None

    @property
    def threshold(self) -> int:
        """16 random bits below this number drop an element."""
        return round(self.p * 65536)


@op
def dropout_mask(
    mask: np.ndarray, p: float, position: tuple[int, int, int, int], counters: np.ndarray | None = None
) -> None:
    """Write 1 / (1 - p) where an element is kept and 0 where it is dropped; position = (seed, layer, step, first).

    On a device, ``counters`` (2,) int64 holds step and first where one captured launch draws a new mask in each step.
    """
    assert counters is None, "counters are of a device"
    seed, layer, step, first = position
    threshold = round(p * 65536)
    scale = 65536 / (65536 - threshold)
    num_rows, num_columns = mask.shape
    ticks = -(-num_columns // ELEMENTS_PER_TICK)
    rows_at_once = max(1, TICKS_AT_ONCE // max(1, ticks))
    philox = np.random.Philox(counter=[first * ticks, 0, step, layer], key=[seed, 0])
    for start in range(0, num_rows, rows_at_once):
        part = mask[start : start + rows_at_once]
        bits = philox.random_raw(4 * ticks * len(part)).view(np.uint16).reshape(len(part), -1)
        np.multiply(bits[:, :num_columns] >= threshold, scale, out=part)


@op
def dropout(x: np.ndarray, masks: Masks, y: np.ndarray, keep: Keep) -> np.ndarray | None:
    """Write y = x mask for x (N, ...); return the mask, or None where ``dropout_dx`` draws it again.

    A GPU does, since drawing 16 bits takes less time than writing and reading an element of a mask.
    """
    mask: np.ndarray = keep("mask", x.shape, x.dtype)
    _draw(mask, masks)
    multiply(x, mask, y)
    return mask


@op
def dropout_dx(dy: np.ndarray, masks: Masks, mask: np.ndarray | None, dx: np.ndarray) -> None:
    """Write dx = dy mask, with what ``dropout`` returned; ``dx`` may be ``dy``."""
    if mask is None:
        mask = workspace(dy, "mask", dy.shape)
        _draw(mask, masks)
    multiply(dy, mask, dx)


def _draw(mask: np.ndarray, masks: Masks) -> None:
    rows = mask.reshape(len(mask), math.prod(mask.shape[1:]))
    dropout_mask(rows, masks.p, masks.position, masks.counters)
