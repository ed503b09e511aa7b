"""Elastic averaging: each rank is drawn toward a center, and the center toward the ranks.

    every H steps:  w = w - alpha (w - center),   center = center + alpha (sum of (w - center) over the ranks)

Source: Zhang et al. 2015, "Deep learning with elastic averaging SGD", arXiv 1412.6651 (the synchronous form).
"""

import numpy as np

from ...arena import HEADER
from ...errors import UserError
from .base import SyncParts
from .local import Local, say_every


class EASGD(Local):
    """Weights of each rank's own, drawn toward a center every ``steps`` steps (Zhang et al. 2015, arXiv 1412.6651).

    At a meeting all ranks take the weights of the center, which are those of evaluations and checkpoints.

    Parameters
    ----------
    parts : SyncParts
    steps : int
        H, from one exchange with the center to the next.
    rho : float
        alpha times the number of ranks, which the paper calls beta: how far the center moves toward their mean.
    meet : int
        Steps from one meeting to the next; requests to stop or save wait for it.
    """

    def __init__(self, parts: SyncParts, *, steps: int = 16, rho: float = 0.9, meet: int = 256):
        if not 0 < rho <= 1:
            raise UserError(f"the rho of --sync easgd must be above 0 and at most 1, but it is {rho}")
        if meet < 1:
            raise UserError(f"the option meet of --sync easgd must be 1 or more, but it is {meet}")
        super().__init__(parts, steps=steps)
        self.rho, self.meet_every = rho, meet
        self._center = np.empty_like(self._values)
        self._num_exchanges = 0

    def is_due(self, step: int, since: int) -> bool:
        """Return whether ``meet`` steps are over."""
        return since >= self.meet_every

    def share_of(self, own: float, total: float) -> float:
        """Return the same share for each rank, as the center does not weigh them."""
        return 1 / self._group.size

    def begin_period(self) -> None:
        """Take the weights that all ranks have in common as the center; after a resume, too."""
        np.copyto(self._center, self._values)

    def between(self) -> None:
        """Every ``steps`` steps, draw the weights and the center toward each other."""
        if self._since % self.steps == 0 and self.exchange is not None:
            self._num_exchanges += 1
            mean = self.mean_of(self._values)[HEADER:]
            values, center = self._values[HEADER:], self._center[HEADER:]
            values -= self.rho / self._group.size * (values - center)
            self._move_center(mean)

    def use_mean(self, values: np.ndarray, mean: np.ndarray) -> None:
        """Draw the center once more, and take its weights."""
        if self.exchange is not None:
            self._move_center(mean)
            np.copyto(values, self._center[HEADER:])

    def _move_center(self, mean: np.ndarray) -> None:
        center = self._center[HEADER:]
        mean -= center
        mean *= self.rho
        center += mean

    @property
    def bytes_sent(self) -> float:
        """Bytes that this rank has sent up to now."""
        return super().bytes_sent + self._num_exchanges * self.bytes_per_meeting

    def title(self) -> str:
        """Return the method in a few words."""
        return f"weights drawn toward a center {say_every(self.steps)}, equal to it every {self.meet_every:,}"
