"""Stochastic gradient descent with momentum."""

from ..arena import Arena
from ..errors import UserError
from ..ops.update import Block, sgd_update
from .base import Optimizer


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Sutskever et al. 2013, "On the importance of initialization ...").

        g = lr (scale grad + weight_decay w)
        v = momentum v + g
        w = w - v                          (nesterov: w - g - momentum v)

    The learning rate is part of v, as in the paper; PyTorch multiplies by it afterwards, which is the same while the
    rate is constant, and costs one more pass.

    Parameters
    ----------
    momentum : float
        In [0, 1); with 0 there is no slot.
    nesterov : bool
    weight_decay, decay_all
        See ``Optimizer``.
    """

    default_lr = 0.05
    writes_copy = True

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

    @property
    def updates_rows(self) -> bool:
        """True without momentum and weight decay."""
        return not self.momentum and not self.weight_decay

    def step_numbers(self, lr: float) -> tuple[float, ...]:
        """Return the scale and the decay, both with the rate in them."""
        return lr, lr * self.weight_decay

    def update(self, block: Block, lr: float, scale: float) -> None:
        """Update one block."""
        sgd_update(block.w, block, lr * scale, lr * self.weight_decay, self.momentum, self.nesterov)
