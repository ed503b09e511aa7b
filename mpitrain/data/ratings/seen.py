"""Items that users have rated already: left out of rankings, and of drawn items.

Shapes: n samples, I codes of items.
"""

from typing import Protocol

import numpy as np


class Hidden(Protocol):
    """Outputs that rankings leave out."""

    def hide(self, outputs: np.ndarray, x: np.ndarray, targets: np.ndarray | None = None) -> np.ndarray:
        """Return outputs in which they are -inf, given samples and targets."""


class UnknownItems:
    """Pairs with the item of code 0, which no training sample has, are never found: its vector says nothing.

    All such items share it, so that one random vector would decide on all of them.
    """

    def hide(self, outputs: np.ndarray, x: np.ndarray, targets: np.ndarray | None = None) -> np.ndarray:
        """Return outputs (n, 2) of pairs (n, 2) in which yes is -inf for them."""
        hidden = np.array(outputs)
        hidden[x[:, 1] == 0, 1] = -np.inf
        return hidden


class Seen:
    """Sets of items, one for each user.

    Parameters
    ----------
    user, item : (N,) arrays of int64
        Codes of users and items that belong together, in any order. Users of code 0, who are unknown, have no set.
    num_users, num_items : int
        Numbers of codes.

    Examples
    --------
    >>> seen = Seen(np.array([1, 2, 1]), np.array([3, 1, 2]), 3, 4)
    >>> seen.has(np.array([1, 1, 2]), np.array([2, 1, 2])).tolist(), seen.of(1).tolist()
    ([True, False, False], [2, 3])
    """

    def __init__(self, user: np.ndarray, item: np.ndarray, num_users: int, num_items: int):
        known = user > 0
        self._pairs = np.unique(user[known] * num_items + item[known])
        self._starts = np.searchsorted(self._pairs, np.arange(num_users + 1) * num_items)
        self.num_users, self.num_items = num_users, num_items

    def of(self, user: int) -> np.ndarray:
        """Return the items of a user, sorted."""
        items: np.ndarray = self._pairs[self._starts[user] : self._starts[user + 1]] - user * self.num_items
        return items

    def has(self, user: np.ndarray, item: np.ndarray) -> np.ndarray:
        """Return whether each item (n,) is in the set of its user (n,)."""
        if not len(self._pairs):
            return np.zeros(len(user), bool)
        pairs = user * self.num_items + item
        places = np.searchsorted(self._pairs, pairs).clip(max=len(self._pairs) - 1)
        found: np.ndarray = self._pairs[places] == pairs
        return found

    def hide(self, outputs: np.ndarray, x: np.ndarray, targets: np.ndarray | None = None) -> np.ndarray:
        """Return outputs (n, I) in which the items of each user, x[:, 0], and code 0, which is no item, are -inf.

        Parameters
        ----------
        x : (n, 1 + K) array of int64
        targets : (n,) array of int64, optional
            An item of each row that stays as it is; 0 for none: an item that no training sample has is never found.
        """
        hidden, users = np.array(outputs), x[:, 0]
        counts = self._starts[users + 1] - self._starts[users]
        rows = np.repeat(np.arange(len(users)), counts)
        places = np.arange(len(rows)) + np.repeat(self._starts[users] - (np.cumsum(counts) - counts), counts)
        hidden[rows, self._pairs[places] - users[rows] * self.num_items] = -np.inf
        if targets is not None:
            each = np.arange(len(targets))
            hidden[each, targets] = outputs[each, targets]
        hidden[:, 0] = -np.inf
        return hidden
