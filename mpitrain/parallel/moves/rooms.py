"""Rows that plans have room for, so that counts which differ a little from step to step use the same plan."""

from collections.abc import Callable

import numpy as np

KEPT_ROOMS = 16  # of the layers of a network, and of the batches of training and evaluation
MOST_WASTE = 2  # a plan with more times the rows of a table is not used for it
LEAST = 8  # rows; so many more than 0 are sent, too


class Rooms:
    """Tables of rows of each source for each destination (P, P), of which one is found for every table of counts.

    All ranks ask with the same tables in the same order, so they find the same rooms without a message.

    Parameters
    ----------
    slack : float
        Part of its counts by which a new room is larger; 0 for rooms of exactly the counts.
    on_dropped : callable(table)
        Called with the room used longest ago when there are more than ``KEPT_ROOMS``.

    Examples
    --------
    >>> rooms = Rooms(0.25)
    >>> [rooms.find(np.array([[n, 0], [0, n]]))[0].tolist() for n in (100, 120, 140)]
    [[136, 8], [136, 8], [184, 8]]
    """

    def __init__(self, slack: float = 0.0, on_dropped: Callable[[np.ndarray], None] = lambda room: None):
        self.slack, self._on_dropped = slack, on_dropped
        self._kept: list[np.ndarray] = []

    def find(self, table: np.ndarray) -> np.ndarray:
        """Return a table that is nowhere smaller, and not much larger in total."""
        if not self.slack:
            return table
        most = MOST_WASTE * table.sum() + 2 * LEAST * table.size
        fitting = [room for room in self._kept if room.sum() <= most and (table <= room).all()]
        if fitting:
            found = min(fitting, key=np.sum)
            self._kept = [room for room in self._kept if room is not found]
        else:
            found = (np.ceil(table * (1 + self.slack) / LEAST).astype(np.int64) + 1) * LEAST
        self._kept.append(found)  # the one used last is the last
        if len(self._kept) > KEPT_ROOMS:
            self._on_dropped(self._kept.pop(0))
        return found
