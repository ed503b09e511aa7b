"""Updates of weights by their gradients, block by block; and the sum of what several ranks have.

A block is a piece of the arena, of n elements; all its arrays are (n,), contiguous, of one dtype.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..device import device_of
from .dispatch import op

SQUARES = 65536  # that are summed in their own precision


def addresses_of(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return where arrays begin, for kernels that take several (int64); nothing where they are not in host memory."""
    return np.array([a.ctypes.data for a in arrays if isinstance(a, np.ndarray)], np.int64)


@op
def sum_sources(target: np.ndarray, sources: Sequence[np.ndarray], addresses: np.ndarray, scratch: np.ndarray) -> float:
    """Write the sum of ``sources``, in their order, to ``target``, which may be one of them; return its |sum|^2.

    ``scratch`` is as long as the target; ``addresses`` are those of the sources and then that of the target.
    """
    total = np.add(sources[0], sources[1], out=scratch)
    for source in sources[2:]:
        np.add(total, source, out=total)
    target[...] = total
    return float(np.dot(total, total))


@op
def sum_of_squares(flat: np.ndarray) -> float:
    """Return the sum of x^2 over ``flat`` (n,): blocks in its own precision, their sum in double. Waits for a GPU."""
    if not isinstance(flat, np.ndarray):
        squares = np.multiply(flat, flat)
        return float(device_of(flat).to_host(squares.sum(dtype=np.float64)))
    blocks = (flat[start : start + SQUARES] for start in range(0, len(flat), SQUARES))
    return math.fsum(float(np.dot(block, block)) for block in blocks)


class Block(NamedTuple):
    """Views of one block of the arena, sliced once and used in every step."""

    w: np.ndarray
    sources: tuple[np.ndarray, ...]  # their sum, in this order, is the gradient
    slots: tuple[np.ndarray, ...]
    g: np.ndarray  # scratch
    scratch: np.ndarray
    decayed: list[tuple[np.ndarray, np.ndarray, np.ndarray]]  # the parts of (w, g, scratch) that decay applies to
    addresses: np.ndarray  # of the sources (int64)
    bounds: np.ndarray  # of the parts that decay: begin, end, begin, end ... (int64)

    @property
    def grad(self) -> np.ndarray:
        """The gradient: the only source, or the sum of all of them, which lies in ``g``."""
        if len(self.sources) == 1:
            return self.sources[0]
        np.add(self.sources[0], self.sources[1], out=self.g)
        for source in self.sources[2:]:
            np.add(self.g, source, out=self.g)
        return self.g


def scaled_gradient(block: Block, scale: float, decay: float) -> np.ndarray:
    """Write scale grad + decay w (where it decays) to ``block.g`` and return it."""
    np.multiply(block.grad, scale, out=block.g)
    for w, g, scratch in block.decayed:
        np.multiply(w, decay, out=scratch)
        np.add(g, scratch, out=g)
    return block.g


@op
def sgd_update(w: np.ndarray, block: Block, scale: float, decay: float, momentum: float, nesterov: bool) -> None:
    """Do g = scale grad + decay w, v = momentum v + g, w = w - v (nesterov: w - g - momentum v); no slot: w = w - g."""
    g = scaled_gradient(block, scale, decay)
    if not block.slots:
        np.subtract(w, g, out=w)
        return
    v = block.slots[0]
    np.multiply(v, momentum, out=v)
    np.add(v, g, out=v)
    if nesterov:
        np.subtract(w, g, out=w)
        v = np.multiply(v, momentum, out=block.scratch)
    np.subtract(w, v, out=w)


@op
def adam_update(
    w: np.ndarray,
    block: Block,
    scale: float,
    decay: float,
    shrink: float,
    betas: tuple[float, float],
    rate: float,
    eps: float,
) -> None:
    """Do w = (1 - shrink) w, g = scale grad + decay w, m and v from g, w = w - rate m / (sqrt(v) + eps).

    At most one of ``decay`` and ``shrink`` is not 0; both hold where the block decays.
    """
    if shrink:
        for part, _, _ in block.decayed:
            np.multiply(part, 1 - shrink, out=part)
    g = scaled_gradient(block, scale, decay) if decay else np.multiply(block.grad, scale, out=block.g)
    (m, v), scratch, (beta1, beta2) = block.slots, block.scratch, betas
    np.multiply(m, beta1, out=m)
    np.multiply(g, 1 - beta1, out=scratch)
    np.add(m, scratch, out=m)

    np.multiply(v, beta2, out=v)
    np.multiply(g, g, out=g)
    np.multiply(g, 1 - beta2, out=g)
    np.add(v, g, out=v)

    np.sqrt(v, out=g)
    np.add(g, eps, out=g)
    np.divide(m, g, out=g)
    np.multiply(g, rate, out=g)
    np.subtract(w, g, out=w)
