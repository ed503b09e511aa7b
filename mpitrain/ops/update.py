"""Weight updates, block by block.

A block is a piece of the arena, of n elements; all its arrays are (n,), contiguous, of one dtype.
"""

from typing import NamedTuple

import numpy as np

from .dispatch import op
from .reduce import Sources
from .workspace import workspace


class Block(NamedTuple):
    """Views of one block of the arena, sliced once and used in every step.

    ``bounds`` (int64) holds begin and end of each part to which weight decay applies: begin, end, begin, end ...
    ``copy``, if it is given, holds w in bf16, and an update writes both. ``numbers``, on a device, are those of
    ``step_numbers``, which are taken in place of the arguments that change from step to step.
    """

    w: np.ndarray
    sources: Sources  # their sum is the gradient
    slots: tuple[np.ndarray, ...]
    bounds: np.ndarray
    copy: np.ndarray | None = None
    numbers: np.ndarray | None = None

    @property
    def grad(self) -> np.ndarray:
        """The gradient: the only source, or the sum of all sources in scratch memory."""
        first, *rest = self.sources.arrays
        if not rest:
            return first
        total: np.ndarray = workspace(self.w, "gradient", self.w.shape)
        np.add(first, rest[0], out=total)
        for source in rest[1:]:
            np.add(total, source, out=total)
        return total

    def write_copy(self) -> None:
        """Write w to the copy."""
        if self.copy is not None:
            np.copyto(self.copy, self.w, casting="unsafe")

    @property
    def decayed(self) -> list[slice]:
        """The parts to which weight decay applies."""
        return [slice(begin, end) for begin, end in self.bounds.reshape(-1, 2).tolist()]


class AdamStep(NamedTuple):
    """The numbers of one Adam update, with both bias corrections folded into ``rate`` and ``eps``.

    At most one of ``decay`` (added to the gradient, L2) and ``shrink`` (of the weight itself, AdamW) is not 0.
    """

    scale: float
    decay: float
    shrink: float
    beta1: float
    beta2: float
    rate: float
    eps: float


@op
def step_numbers(
    totals: np.ndarray, squares: np.ndarray, given: np.ndarray, max_norm: float, numbers: np.ndarray
) -> None:
    """Write the numbers of a step: whether it is done, the scale of its gradients times given[0], and given[1:].

    scale = 1 / max(1, weight), times max_norm / (norm scale) where that is below 1 and max_norm above 0; a step is
    done, 1, if its loss and its norm are finite, else 0.

    Parameters
    ----------
    totals : (>= 2,) array
        Weight and loss of the step.
    squares : (p,) array
        Their sum is the square of the gradient's norm.
    given : (n,) float64 array
    max_norm : float
    numbers : (1 + n,) array
    """
    norm = np.sqrt(squares.sum(dtype=np.float64))
    scale = 1 / np.maximum(1.0, totals[0].astype(np.float64))
    if max_norm > 0:
        with np.errstate(divide="ignore", invalid="ignore"):
            scale *= np.fmin(1.0, max_norm / (norm * scale))
    numbers[0] = np.isfinite(totals[1]) & np.isfinite(norm)
    numbers[1] = scale * given[0]
    numbers[2:] = given[1:]


@op
def sgd_update(w: np.ndarray, block: Block, scale: float, decay: float, momentum: float, nesterov: bool) -> None:
    """Do g = scale grad + decay w, v = momentum v + g, w = w - v (nesterov: w - g - momentum v); no slot: w = w - g."""
    g = _scaled_gradient(block, scale, decay)
    if not block.slots:
        np.subtract(w, g, out=w)
        block.write_copy()
        return
    v = block.slots[0]
    np.multiply(v, momentum, out=v)
    np.add(v, g, out=v)
    if nesterov:
        np.subtract(w, g, out=w)
        v = np.multiply(v, momentum, out=workspace(w, "part", w.shape))
    np.subtract(w, v, out=w)
    block.write_copy()


@op
def adagrad_update(w: np.ndarray, block: Block, scale: float, decay: float, rate: float, eps: float) -> None:
    """Do g = scale grad + decay w, s = s + g^2, w = w - rate g / (sqrt(s) + eps)."""
    g, squares, scratch = _scaled_gradient(block, scale, decay), block.slots[0], workspace(w, "part", w.shape)
    np.multiply(g, g, out=scratch)
    np.add(squares, scratch, out=squares)
    np.sqrt(squares, out=scratch)
    np.add(scratch, eps, out=scratch)
    np.divide(g, scratch, out=g)
    np.multiply(g, rate, out=g)
    np.subtract(w, g, out=w)
    block.write_copy()


@op
def adam_update(w: np.ndarray, block: Block, step: AdamStep) -> None:
    """Do w = (1 - shrink) w, g = scale grad + decay w, m and v from g, w = w - rate m / (sqrt(v) + eps)."""
    if step.shrink:
        for part in block.decayed:
            np.multiply(w[part], 1 - step.shrink, out=w[part])
    g, scratch = _scaled_gradient(block, step.scale, step.decay), workspace(w, "part", w.shape)
    m, v = block.slots
    np.multiply(m, step.beta1, out=m)
    np.multiply(g, 1 - step.beta1, out=scratch)
    np.add(m, scratch, out=m)

    np.multiply(v, step.beta2, out=v)
    np.multiply(g, g, out=g)
    np.multiply(g, 1 - step.beta2, out=g)
    np.add(v, g, out=v)

    np.sqrt(v, out=g)
    np.add(g, step.eps, out=g)
    np.divide(m, g, out=g)
    np.multiply(g, step.rate, out=g)
    np.subtract(w, g, out=w)
    block.write_copy()


def _scaled_gradient(block: Block, scale: float, decay: float) -> np.ndarray:
    """Return scale grad + decay w (where the weight decays) in scratch memory."""
    w = block.w
    g: np.ndarray = workspace(w, "gradient", w.shape)
    np.multiply(block.grad, scale, out=g)
    for part in block.decayed if decay else ():
        decays = np.multiply(w[part], decay, out=workspace(w, "part", w[part].shape))
        np.add(g[part], decays, out=g[part])
    return g
