"""Stochastic gradient descent with momentum."""

import numpy as np

from ..arena import Arena
from ..errors import UserError
from .base import Block, Optimizer, scaled_gradient


class SGD(Optimizer):
    """Momentum as in Sutskever et al. 2013 ("On the importance of initialization and momentum in deep learning").

        g = scale grad + weight_decay w
        v = momentum v + g
        w = w - lr v                       (nesterov: w - lr (g + momentum v))

    Parameters
    ----------
    momentum : float
        In [0, 1); with 0 there is no slot.
    nesterov : bool
    weight_decay, decay_all
        See ``Optimizer``.
    """

    def __init__(
        self,
        arena: Arena,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay_all: bool = False,
    ):
        if not 0 <= momentum < 1:
            raise UserError(f"momentum must lie in [0, 1), but it is {momentum}")
        if nesterov and not momentum:
            raise UserError("Nesterov's step needs a momentum above 0")
        self.momentum, self.nesterov = float(momentum), nesterov
        self.slot_names = ("momentum",) if momentum else ()
        super().__init__(arena, weight_decay=weight_decay, decay_all=decay_all)

    def update(self, block: Block, lr: float, scale: float) -> None:
        """Update one block."""
        g, scratch = scaled_gradient(block, scale, self.weight_decay), block.scratch
        direction = g
        if self.momentum:
            direction = v = block.slots[0]
            np.multiply(v, self.momentum, out=v)
            np.add(v, g, out=v)
        if self.nesterov:
            np.multiply(v, self.momentum, out=scratch)
            direction = np.add(g, scratch, out=g)
        np.multiply(direction, lr, out=scratch)
        np.subtract(block.w, scratch, out=block.w)
