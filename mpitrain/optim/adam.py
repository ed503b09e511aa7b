"""Adam and AdamW."""

import math

from ..arena import Arena
from ..errors import UserError
from ..ops.update import AdamStep, Block, adam_update
from .base import Optimizer


class Adam(Optimizer):
    """Adaptive moments (Kingma and Ba 2015, arXiv 1412.6980); weight decay is added to the gradient (L2).

        g = scale grad + weight_decay w
        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        w = w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Parameters
    ----------
    beta1, beta2 : float
        Each in [0, 1).
    eps : float
    weight_decay, decay_all
        See ``Optimizer``.
    lazy : bool
        Of large embedding tables, update the rows that a step has met alone: m, v and w of the others stay as they are,
        which is another rule (PyTorch's SparseAdam), and needs no pass over the whole table.
    """

    slot_names = ("m", "v")
    writes_copy = True

    def __init__(
        self,
        arena: Arena,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay_all: bool = False,
        lazy: bool = False,
    ):
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= beta < 1:
                raise UserError(f"Adam's {name} must lie in [0, 1), but it is {beta}")
        if not 0 < eps < math.inf:
            raise UserError(f"Adam's eps must be above 0 and finite, but it is {eps}")
        if lazy and weight_decay:
            raise UserError("Adam with lazy=true leaves most rows of a table as they are, but weight decay changes all")
        self.lazy = lazy
        self.betas, self.eps = (float(beta1), float(beta2)), float(eps)
        super().__init__(arena, weight_decay=weight_decay, decay_all=decay_all)

    @property
    def updates_rows(self) -> bool:
        """True if it is lazy."""
        return self.lazy

    def update(self, block: Block, lr: float, scale: float) -> None:
        """Update one block."""
        self.adapt(block, lr, scale, decay=self.weight_decay)

    def step_numbers(self, lr: float) -> tuple[float, ...]:
        """Return the scale, the corrected rate and eps, and the part by which weights shrink."""
        return 1.0, *self._corrected(lr), 0.0

    def adapt(self, block: Block, lr: float, scale: float, *, decay: float = 0.0, shrink: float = 0.0) -> None:
        """Update m, v and w.

        Both corrections are folded into two numbers, as at the end of section 2 of the paper:
        w = w - lr sqrt(c2) / c1 * m / (sqrt(v) + eps sqrt(c2)) with c = 1 - beta^t.
        """
        rate, eps = self._corrected(lr)
        adam_update(block.w, block, AdamStep(scale, decay, shrink, *self.betas, rate, eps))

    def _corrected(self, lr: float) -> tuple[float, float]:
        """Return rate and eps with the corrections of this step."""
        c1, root_c2 = 1 - self.betas[0] ** self.step_count, math.sqrt(1 - self.betas[1] ** self.step_count)
        return lr * root_c2 / c1, self.eps * root_c2


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101).

        w = w - lr weight_decay w, then Adam's update with g = scale grad

    The decay is multiplied by lr, as in PyTorch; the paper multiplies by the schedule alone.
    """

    writes_copy = True

    def update(self, block: Block, lr: float, scale: float) -> None:
        """Update one block."""
        self.adapt(block, lr, scale, shrink=lr * self.weight_decay)

    def step_numbers(self, lr: float) -> tuple[float, ...]:
        """Return those of Adam, with decay."""
        return *super().step_numbers(lr)[:3], lr * self.weight_decay
