"""Pairs of user and item: clicks, and drawn items without a click for each (He et al. 2017, arXiv 1708.05031).

Shapes: P clicks, n drawn items for each; N = P (1 + n) samples.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UserError
from ..blocks import digest_bytes
from ..lazy import LazyRows
from ..rng import NEGATIVES, random_bits
from .seen import Seen

_TRIES = 64  # draws for one pair; a user who has nearly all items may get one that is clicked


@dataclass(frozen=True, eq=False)
class Draws:
    """The items that are drawn for each click.

    Attributes
    ----------
    count : int
        n.
    clicked : Seen
        The items that are not drawn for a user.
    seed, epoch : int
    """

    count: int
    clicked: Seen
    seed: int = 0
    epoch: int = 0

    def items(self, rows: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Return an item for each sample (m,), known by its number in ``rows``: uniform among those without a click.

        They depend on seed, epoch and sample alone.
        """
        items = np.zeros(len(rows), np.int64)
        left = np.arange(len(rows))
        for attempt in range(_TRIES):
            bits = random_bits(rows[left], self.seed, NEGATIVES, self.epoch, attempt)
            items[left] = 1 + (bits % np.uint64(self.clicked.num_items - 1)).astype(np.int64)
            left = left[self.clicked.has(users[left], items[left])]
            if not len(left):
                break
        return items


class PairRows(LazyRows):
    """Clicks (user, item), each followed by the pairs of its user with drawn items.

    Parameters
    ----------
    user, item : (P,) arrays of int64
        Codes.
    draws : Draws
    of_epochs : bool
        Whether other items are drawn in each epoch of training.

    Examples
    --------
    >>> draws = Draws(1, Seen(np.array([1, 2]), np.array([1, 2]), 3, 3))
    >>> PairRows(np.array([1, 2]), np.array([1, 2]), draws)[:].tolist()
    [[1, 1], [1, 2], [2, 2], [2, 1]]
    """

    at_once = 1 << 14

    def __init__(self, user: np.ndarray, item: np.ndarray, draws: Draws, *, of_epochs: bool = True):
        super().__init__(len(user) * (1 + draws.count), 2)
        self._user, self._item, self._draws, self._of_epochs = user, item, draws, of_epochs

    @property
    def num_bytes(self) -> int:
        """The memory of the clicks."""
        return int(self._user.nbytes + self._item.nbytes)

    @property
    def targets(self) -> np.ndarray:
        """1 for a click, 0 for a drawn item: (N,) int64."""
        clicked: np.ndarray = (np.arange(len(self)) % (1 + self._draws.count) == 0).astype(np.int64)
        return clicked

    def take(self, indices: np.ndarray, width: int | None = None) -> np.ndarray:
        """Return pairs by their numbers, (m, 2) int64."""
        click, drawn = np.divmod(indices, 1 + self._draws.count)
        pairs = np.stack([self._user[click], self._item[click]], axis=1)
        rows = np.flatnonzero(drawn)
        pairs[rows, 1] = self._draws.items(indices[rows], pairs[rows, 0])
        return pairs

    def of_epoch(self, seed: int, epoch: int) -> "PairRows":
        """Return the pairs of an epoch, with items drawn by (seed, epoch)."""
        if not self._of_epochs:
            return self
        draws = Draws(self._draws.count, self._draws.clicked, seed, epoch)
        return PairRows(self._user, self._item, draws)

    def select(self, indices: np.ndarray) -> LazyRows:
        """Raise a UserError: pairs belong to their click."""
        raise UserError("clicks and the items drawn for them cannot be divided by rows: take split=leave-last-two-out")

    def digest(self) -> str:
        """Return the shape and a hash of clicks and of some drawn items."""
        parts: list[Any] = [self._user, self._item, self[: self.at_once]]
        data = b"".join(np.ascontiguousarray(part, "<i8").tobytes() for part in parts)
        return f"{self.shape} {self.dtype.name} {digest_bytes(np.frombuffer(data, np.uint8))}"


class AllPairs(LazyRows):
    """All pairs of some users with all items of code 1 or more, user by user.

    Parameters
    ----------
    users : (U,) array of int64
        Codes.
    num_items : int
        Number of codes, with 0.
    """

    at_once = 1 << 14

    def __init__(self, users: np.ndarray, num_items: int):
        super().__init__(len(users) * (num_items - 1), 2)
        self._users, self._num_items = users, num_items

    def take(self, indices: np.ndarray, width: int | None = None) -> np.ndarray:
        """Return pairs by their numbers, (m, 2) int64."""
        user, item = np.divmod(indices, self._num_items - 1)
        return np.stack([self._users[user], item + 1], axis=1)

    def digest(self) -> str:
        """Return the shape and a hash of the users."""
        data = np.ascontiguousarray(self._users, "<i8").view(np.uint8)
        return f"{self.shape} {self.dtype.name} {digest_bytes(data)}"
