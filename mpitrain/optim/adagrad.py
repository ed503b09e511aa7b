"""Adagrad."""

import math

from ..arena import Arena
from ..errors import UserError
from ..ops.update import Block, adagrad_update
from .base import Optimizer


class Adagrad(Optimizer):
    """Rates that fall with the sum of squares (Duchi, Hazan and Singer 2011, JMLR 12); weight decay is added as L2.

        g = scale grad + weight_decay w
        s = s + g^2
        w = w - lr g / (sqrt(s) + eps)

    Parameters
    ----------
    eps : float
    weight_decay, decay_all
        See ``Optimizer``.
    """

    slot_names = ("squares",)
    default_lr = 0.01
    writes_copy = True

    def __init__(self, arena: Arena, *, eps: float = 1e-10, weight_decay: float = 0.0, decay_all: bool = False):
        if not 0 < eps < math.inf:
            raise UserError(f"Adagrad's eps must be above 0 and finite, but it is {eps}")
        self.eps = float(eps)
        super().__init__(arena, weight_decay=weight_decay, decay_all=decay_all)

    @property
    def updates_rows(self) -> bool:
        """True without weight decay."""
        return not self.weight_decay

    def step_numbers(self, lr: float) -> tuple[float, ...]:
        """Return the scale and the rate."""
        return 1.0, lr

    def update(self, block: Block, lr: float, scale: float) -> None:
        """Update one block."""
        adagrad_update(block.w, block, scale, self.weight_decay, lr, self.eps)
