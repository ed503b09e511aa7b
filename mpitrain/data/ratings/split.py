"""Division of ratings into training, validation and test samples.

Shapes: N ratings.
"""

from enum import IntEnum

import numpy as np

from ...errors import UserError
from ..rng import SPLIT, random_order
from .options import SplitName
from .reader import Interactions


class Part(IntEnum):
    """The split of a rating."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


def divide(
    found: Interactions, split: SplitName, test_fraction: float, seed: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the ``Part`` of each rating, (N,) int8, and notes.

    Parameters
    ----------
    split : str
        random: a share ``test_fraction`` drawn by ``seed``, independent of ranks. leave-last-out: the latest of each
        user with two or more. leave-last-two-out: the latest, and the one before it for validation, of users with three
        or more. time: the latest share of all; those that are as late as the first of them belong to it.

    Raises
    ------
    UserError
        If a part would be empty.
    """
    if len(found) < 2:
        raise UserError(f"{found.path}: 1 rating cannot be split into one part to train and one to test")
    parts = np.zeros(len(found), np.int8)
    if split in ("random", "time"):
        num_test = min(max(1, round(len(found) * test_fraction)), len(found) - 1)
        if split == "random":
            parts[random_order(len(found), seed, SPLIT)[:num_test]] = Part.TEST
        else:
            parts[_latest(found, num_test)] = Part.TEST
        return parts, _note_on_times(found) if split == "time" else ()
    held_out = 2 if split == "leave-last-two-out" else 1
    from_last, counts = _places_from_last(found)
    enough = counts > held_out
    parts[enough & (from_last == 0)] = Part.TEST
    if held_out == 2:
        parts[enough & (from_last == 1)] = Part.VALIDATION
    few = len(np.unique(found.user[~enough]))
    if few == len(np.unique(found.user)):
        raise UserError(
            f"{found.path}: no user has {held_out + 1} ratings or more, so that {split} leaves none to test"
        )
    users = f"{few:,} user{'s' * (few > 1)} with {held_out} rating{'s or fewer' * (held_out > 1)}"
    notes = (f"{found.path}: {users} {'are' if few > 1 else 'is'} not tested",) if few else ()
    return parts, _note_on_times(found) + notes


def _latest(found: Interactions, num_test: int) -> np.ndarray:
    """Return the rows of the latest ``num_test`` ratings, and of those that are as late as the first of them."""
    by_time = np.argsort(found.order)
    if found.time is None:
        return by_time[-num_test:]
    first = found.time[by_time[-num_test]]
    rows = np.flatnonzero(found.time >= first)
    if len(rows) == len(found):
        raise UserError(f"{found.path}: the times of all training ratings would be as late as those of test ones")
    return rows


def _places_from_last(found: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Return how many later ratings the user of each has, and how many ratings in all."""
    counts = np.bincount(found.user, minlength=len(found.users))
    by_user = np.lexsort((-found.order, found.user))
    from_last = np.empty(len(found), np.int64)
    from_last[by_user] = np.arange(len(found)) - np.repeat(np.cumsum(counts) - counts, counts)
    return from_last, counts[found.user]


def _note_on_times(found: Interactions) -> tuple[str, ...]:
    if found.time is not None:
        return ()
    return (f"{found.path} has no column of times: later rows are taken for later ratings",)
