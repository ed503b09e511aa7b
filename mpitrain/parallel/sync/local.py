"""Local SGD: every rank makes H steps of its own, then all take the mean of their weights.

Source: Stich 2018, "Local SGD converges fast and communicates little", arXiv 1805.09767.
"""

from ...errors import UserError
from .base import LocalSteps, SyncParts


class Local(LocalSteps):
    """Local SGD: the mean of the weights every ``steps`` steps (Stich 2018, arXiv 1805.09767).

    Parameters
    ----------
    parts : SyncParts
    steps : int
        H, from one meeting to the next.
    """

    def __init__(self, parts: SyncParts, *, steps: int = 16):
        if steps < 1:
            raise UserError(f"the steps of --sync must be 1 or more, but they are {steps}")
        super().__init__(parts)
        self.steps = steps

    def is_due(self, step: int, since: int) -> bool:
        """Return whether ``steps`` steps are over."""
        return since >= self.steps

    @property
    def period(self) -> float:
        """Steps from one meeting to the next."""
        return float(self.steps)

    def title(self) -> str:
        """Return the method in a few words."""
        return f"the mean of the weights {say_every(self.steps)}"


def say_every(steps: int) -> str:
    """Return an interval in words.

    >>> say_every(1), say_every(16)
    ('after every step', 'every 16 steps')
    """
    return "after every step" if steps == 1 else f"every {steps:,} steps"
