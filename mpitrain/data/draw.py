"""Test splits drawn from one table, and notes on their classes.

Shapes: N samples, K classes.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import UserError
from ..run_rules import parse_fold
from .dataset import Split
from .lazy import select
from .rng import SPLIT, VALIDATION, random_order

Draw = Literal["stratified", "random"]


@dataclass(frozen=True)
class Draws:
    """The choices by which samples are held out.

    Attributes
    ----------
    test_fraction : float
    seed : int
    draw : "stratified" or "random"
    validation : float
        As ``amount`` in ``validation.with_validation``.
    fold : str
        As there.
    """

    test_fraction: float = 0.2
    seed: int = 0
    draw: Draw = "stratified"
    validation: float = 0.0
    fold: str = ""


_RARE = 10  # training samples below which a class is rare
_SHOWN = 3  # rare classes that are named


def draw_test_split(whole: Split, where: str, test_fraction: float, seed: int, draw: Draw) -> list[Split]:
    """Return a training and a test split, in the order of the file.

    Parameters
    ----------
    draw : "stratified" or "random"
        Stratified takes its part of each class, and leaves a training sample of each; targets that are no classes are
        drawn at random, as are classes of pixels.

    Raises
    ------
    UserError
        If there is nothing left for one of the splits.
    """
    parts = split_rows(whole.y, where, test_fraction, seed, draw)
    return [Split(select(whole.x, rows), whole.y[rows]) for rows in parts]


def split_rows(y: np.ndarray, where: str, test_fraction: float, seed: int, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train and to test on, as ``draw_test_split`` takes them.

    Raises
    ------
    UserError
        If there is nothing left for one of them.
    """
    num_samples = len(y)
    if num_samples < 2:
        raise UserError(f"{where}: 1 sample cannot be split into one part to train and one to test")
    num_test = min(max(1, round(num_samples * test_fraction)), num_samples - 1)
    parts = draw_rows(y, num_test, draw, seed, SPLIT)
    if not len(parts[1]):
        raise UserError(f"{where}: every sample is the only one of its class, so that none is left to test on")
    return parts


def draw_rows(y: np.ndarray, count: int, draw: Draw, seed: int, purpose: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the remaining rows and ``count`` drawn rows, in the order of the file.

    Parameters
    ----------
    y : (N,) array of int64 classes, or (N, ...) array of targets
    count : int
        Below N. Fewer rows may be drawn from classes, since one sample of each is left.
    seed, purpose : int
        The key of the random numbers.
    """
    order = random_order(len(y), seed, purpose)
    if draw == "stratified" and y.dtype.kind == "i" and y.ndim == 1:
        order, count = _by_classes(order, y, count)
    return np.sort(order[count:]), np.sort(order[:count])


def draw_fold(
    y: np.ndarray, fold: int, count: int, draw: Draw, seed: int, purpose: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows outside and inside of a fold, in the order of the file.

    The numbers of samples of two folds differ by one at most, and so do those of each class if it is stratified:
    samples are sorted by class, in random order within each, and dealt to the folds in turn.

    Parameters
    ----------
    y : (N,) array of int64 classes, or (N, ...) array of targets
    fold, count : int
        Number of the fold, from 0, and of all folds.
    seed, purpose : int
        The key of the random numbers.
    """
    order = random_order(len(y), seed, purpose)
    if draw == "stratified" and y.dtype.kind == "i" and y.ndim == 1:
        order = order[np.argsort(y[order], kind="stable")]
    inside = np.zeros(len(y), np.bool_)
    inside[order[fold::count]] = True
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def validation_rows(
    y: np.ndarray, amount: float, seed: int, draw: Draw, fold: str, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train and to validate on, as ``with_validation`` takes them of training targets ``y``.

    Raises
    ------
    UserError
        If nothing is left for one of them.
    """
    if fold:
        place, count = parse_fold(fold)
        if count > len(y):
            raise UserError(f"--fold {place}/{count}: {name} has only {len(y):,} training samples")
        return draw_fold(y, place - 1, count, draw, seed, VALIDATION)
    kept, drawn = draw_rows(y, validation_count(amount, len(y), name), draw, seed, VALIDATION)
    if not len(drawn):
        raise UserError(
            f"{name}: every training sample is the only one of its class, so that there is none to validate on"
        )
    return kept, drawn


def validation_count(amount: float, num_samples: int, name: str) -> int:
    """Return the number of validation samples."""
    count = max(1, round(amount * num_samples)) if amount < 1 else int(amount)
    if count >= num_samples:
        raise UserError(
            f"--validation {amount:g} takes {count:,} of the {num_samples:,} training samples of {name}: nothing is "
            "left to train on"
        )
    return count


def note_rare_classes(train: np.ndarray, test: np.ndarray, names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return a sentence if classes have few samples to train on or none to test on.

    Parameters
    ----------
    train, test : (N,) arrays of int64
        Classes of the samples; a sample of several classes is counted once for each.
    """
    to_train, to_test = (np.bincount(y, minlength=len(names)) for y in (train, test))
    rare = np.flatnonzero((to_train < _RARE) | (to_test == 0))
    if not rare.size:
        return ()
    rarest = rare[np.argsort(to_train[rare], kind="stable")]
    shown = ", ".join(f"{names[k]!r} ({to_train[k]} training, {to_test[k]} test samples)" for k in rarest[:_SHOWN])
    more = f" and {rare.size - _SHOWN} more" if rare.size > _SHOWN else ""
    verb, them = ("is", "it") if rare.size == 1 else ("are", "them")
    number = f"{rare.size} of {len(names)} classes {verb} rare"
    return (f"{where}: {number}, so that scores say little about {them}: {shown}{more}",)


def _by_classes(order: np.ndarray, y: np.ndarray, num_test: int) -> tuple[np.ndarray, int]:
    """Return ``order`` with the test samples, the same share of each class, moved to the front; and their number.

    Parts are rounded to whole samples by the largest remainders (Hamilton 1792), of equal ones by those of the classes
    drawn first. One sample of each class stays to train on, so that there may be fewer than ``num_test``.
    """
    classes, counts = np.unique(y, return_counts=True)
    quota = counts * (num_test / len(y))
    taken = np.minimum(np.floor(quota).astype(np.int64), counts - 1)
    room = np.minimum(np.ceil(quota).astype(np.int64), counts - 1) > taken
    place = np.searchsorted(classes, y[order])  # the class of each sample, in the order of the draw
    first = np.full(len(classes), len(y))
    np.minimum.at(first, place, np.arange(len(y)))
    by_remainder = np.lexsort((first, taken - quota))
    taken[by_remainder[room[by_remainder]][: num_test - taken.sum()]] += 1
    by_class = np.argsort(place, kind="stable")
    rank = np.empty(len(y), np.int64)  # of each sample within its class
    rank[by_class] = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[np.argsort(rank >= taken[place], kind="stable")], int(taken.sum())
