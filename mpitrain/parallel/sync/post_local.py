"""Post-local SGD: sums of gradients in every step at first, then local SGD.

Source: Lin et al. 2018, "Don't use large mini-batches, use local SGD", arXiv 1808.07217.
"""

from ...errors import UserError
from ...optim import Optimizer
from ...parameter import Parameter
from .base import SyncParts
from .local import Local, say_every


class PostLocal(Local):
    """Local SGD after a number of steps with sums of all gradients (Lin et al. 2018, arXiv 1808.07217).

    Parameters
    ----------
    parts : SyncParts
    steps : int
        H, from one meeting to the next.
    after : int
        Steps of the run before, in each of which gradients are summed.
    """

    watches_gradients = True

    def __init__(self, parts: SyncParts, *, steps: int = 16, after: int = 100):
        if after < 0:
            raise UserError(f"the option after of --sync post_local must be 0 or more, but it is {after}")
        super().__init__(parts, steps=steps)
        self.after = after

    def prepare(self, step: int, meet: bool) -> None:
        """Begin a step, of either kind."""
        self.own_step = step > self.after or self._group.size == 1
        super().prepare(step, meet)

    def is_due(self, step: int, since: int) -> bool:
        """Return whether ``steps`` steps are over, or none is the rank's own yet."""
        return step <= self.after or super().is_due(step, since)

    def begin(self, passes: int = 1) -> None:
        """Begin a step, with all gradients missing."""
        if not self.own_step and self.exchange is not None:
            self.exchange.begin()

    def ready(self, p: Parameter) -> None:
        """Start the sum of the bucket that the gradient of ``p`` completes."""
        if not self.own_step and self.exchange is not None:
            self.exchange.ready(p)

    def finish(self) -> None:
        """Wait for the sums of all gradients; in a step of its own, as ``LocalSteps``."""
        if self.own_step or self.exchange is None:
            super().finish()
        else:
            self.exchange.finish()
            self._norm = self.exchange.norm()

    def divisor(self, weight: float) -> float:
        """Return the weight of all samples whose gradients are summed."""
        return super().divisor(weight) if self.own_step else max(1.0, weight)

    def update(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        """Update the weights from the sums; in a step of its own, as ``LocalSteps``."""
        if self.own_step:
            super().update(optimizer, lr, scale)
        else:
            optimizer.step(lr, scale)
            self.skip()

    def skip(self) -> None:
        """Leave out the update."""
        if self.own_step:
            super().skip()
        else:
            self._since = 0
            self.num_steps += 1
            self.num_meetings += 1

    def title(self) -> str:
        """Return the method in a few words."""
        return f"sums in each of {self.after:,} steps, then the mean of the weights {say_every(self.steps)}"
