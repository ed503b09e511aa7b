"""The latest items of a user before a rating.

Shapes: N ratings, K items of the history.
"""

import numpy as np

from .reader import Interactions
from .split import Part


def histories(found: Interactions, parts: np.ndarray, part: Part, item: np.ndarray, length: int) -> np.ndarray:
    """Return the codes of the latest ``length`` items of the user before each rating of ``part``, (n, K) int64.

    They come from earlier ratings only, of training samples, and for test samples from those for validation, too; the
    latest one is the last, and 0 stands for none.

    Parameters
    ----------
    parts : (N,) array of int8
        As from ``split.divide``.
    item : (N,) array of int64
        The code of the item of each rating.
    """
    allowed = parts < max(int(part), 1)
    by_user = np.lexsort((found.order, found.user))
    earlier = by_user[allowed[by_user]]
    before = np.zeros(len(found), np.int64)  # allowed ratings before each one, of its user and of users before
    before[by_user] = np.cumsum(allowed[by_user]) - allowed[by_user]
    first = np.concatenate([[0], np.cumsum(np.bincount(found.user[allowed], minlength=len(found.users)))])
    rows = np.flatnonzero(parts == part)
    return _tails(item[earlier], first[found.user[rows]], before[rows], length)


def latest_items(found: Interactions, item: np.ndarray, length: int) -> np.ndarray:
    """Return the codes of the latest ``length`` items of each user, (U, K) int64, as ``histories`` does."""
    by_user = np.lexsort((found.order, found.user))
    stops = np.cumsum(np.bincount(found.user, minlength=len(found.users)))
    return _tails(item[by_user], np.concatenate([[0], stops[:-1]]), stops, length)


def _tails(items: np.ndarray, starts: np.ndarray, stops: np.ndarray, length: int) -> np.ndarray:
    """Return the last ``length`` of ``items[start:stop]`` for each start and stop, with zeros before them."""
    places = stops[:, None] - np.arange(length, 0, -1)
    inside = places >= starts[:, None]
    if not len(items):
        return np.zeros(places.shape, np.int64)
    return np.where(inside, items[np.where(inside, places, 0)], 0)
