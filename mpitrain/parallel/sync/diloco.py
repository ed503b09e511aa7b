"""DiLoCo: steps of each rank's own, and an outer optimizer whose gradient is the way that the mean has gone.

Source: Douillard et al. 2023, "DiLoCo: distributed low-communication training of language models", arXiv 2311.08105.
"""

import math

import numpy as np

from ...arena import HEADER
from ...errors import UserError
from .base import SyncParts
from .local import Local, say_every


class DiLoCo(Local):
    """Local steps with an outer Nesterov step by the mean of what the ranks have gone (Douillard et al. 2023).

        d = anchor - mean
        v = momentum v + d
        anchor = anchor - lr (d + momentum v)
        w = anchor

    With lr 1 and momentum 0 it is ``local``. In the long run the weights go lr / (1 - momentum) times as far as the
    mean: 7 times by default, as in the paper, whose own steps are small (AdamW); with SGD of a large rate take less.

    Parameters
    ----------
    parts : SyncParts
    steps : int
        H, from one meeting to the next.
    lr, momentum : float
        Those of the outer step.
    """

    def __init__(self, parts: SyncParts, *, steps: int = 16, lr: float = 0.7, momentum: float = 0.9):
        if not 0 < lr < math.inf:
            raise UserError(f"the lr of --sync diloco must be above 0 and finite, but it is {lr}")
        if not 0 <= momentum < 1:
            raise UserError(f"the momentum of --sync diloco must lie in [0, 1), but it is {momentum}")
        super().__init__(parts, steps=steps)
        self.lr, self.momentum = lr, momentum
        self.slots = self.states_of_method(["momentum"] if momentum else [])
        self._anchor = np.empty_like(self._values)

    def begin_period(self) -> None:
        """Keep the weights that all ranks have in common; after a resume, too, since a checkpoint is at a meeting."""
        np.copyto(self._anchor, self._values)

    def use_mean(self, values: np.ndarray, mean: np.ndarray) -> None:
        """Make the outer step."""
        anchor = self._anchor[HEADER:]
        d = np.subtract(anchor, mean, out=mean)
        if self.momentum:
            v = self.slots["momentum"][HEADER:]
            v *= self.momentum
            v += d
            d += self.momentum * v
        d *= self.lr
        np.subtract(anchor, d, out=values)

    def title(self) -> str:
        """Return the method in a few words."""
        far = f"{self.lr / (1 - self.momentum):.2g} times as far as the mean in the long run"
        return f"an outer step {say_every(self.steps)}, {far}"
