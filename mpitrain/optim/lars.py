"""Layer-wise adaptive rates, for very large batches."""

import math

import numpy as np

from ..arena import Arena, Parameter
from ..errors import UserError
from .base import Block, Optimizer, scaled_gradient
from .clip import sum_of_squares


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017, arXiv 1708.03888).

        g = scale grad
        trust = eta |w| / (|g| + weight_decay |w|)
        v = momentum v + lr trust (g + weight_decay w)
        w = w - v

    Trust is one number for each parameter; it is 1 where a norm is 0, and for biases and normalisation scales
    (parameters that do not decay).

    Parameters
    ----------
    momentum : float
        In [0, 1).
    eta : float
        The trust coefficient.
    weight_decay, decay_all
        See ``Optimizer``.

    Notes
    -----
    A slice must hold whole parameters: the norms of parts say nothing.
    """

    slot_names = ("momentum",)
    whole_parameters = True

    def __init__(
        self,
        arena: Arena,
        *,
        momentum: float = 0.9,
        eta: float = 0.001,
        weight_decay: float = 0.0,
        decay_all: bool = False,
    ):
        if not 0 <= momentum < 1:
            raise UserError(f"momentum must lie in [0, 1), but it is {momentum}")
        super().__init__(arena, weight_decay=weight_decay, decay_all=decay_all)
        self.momentum, self.eta = float(momentum), float(eta)

    def step(
        self, lr: float, scale: float = 1.0, start: int = 0, stop: int | None = None, *, count: bool = True
    ) -> None:
        """Update the parameters in ``start:stop``; raises ValueError if it cuts through one."""
        stop = self.arena.size if stop is None else stop
        self.step_count += count
        for p in self.arena.parameters:
            if p.stop <= start or p.start >= stop:
                continue
            if p.start < start or p.stop > stop:
                raise ValueError(f"the slice {start}:{stop} cuts through {p.name} ({p.start}:{p.stop})")
            rate = lr * self.trust(p, scale)
            for block in self.blocks(p.start, p.stop):
                self.update(block, rate, float(scale))

    def update(self, block: Block, lr: float, scale: float) -> None:
        """Update one block; ``lr`` includes the trust."""
        g, v = scaled_gradient(block, lr * scale, lr * self.weight_decay), block.slots[0]
        np.multiply(v, self.momentum, out=v)
        np.add(v, g, out=v)
        np.subtract(block.w, v, out=block.w)

    def trust(self, p: Parameter, scale: float) -> float:
        """Return the factor of this parameter's learning rate."""
        if not self.decays(p):
            return 1.0
        weight = math.sqrt(sum_of_squares(p.data.reshape(-1)))
        gradient = scale * math.sqrt(sum_of_squares(p.grad.reshape(-1)))
        if weight == 0 or gradient == 0:
            return 1.0
        return self.eta * weight / (gradient + self.weight_decay * weight)
