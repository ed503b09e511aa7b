"""Validation split, drawn from the training samples, so that choices do not use the test set."""

import dataclasses

import numpy as np

from ..errors import UserError
from ..run_rules import parse_fold
from .dataset import LANGUAGE_MODELING, Dataset, Split
from .draw import Draw, draw_fold, draw_rows
from .lazy import select
from .rng import VALIDATION


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
    kept, drawn = draw_rows(y, _count(amount, len(y), name), draw, seed, VALIDATION)
    if not len(drawn):
        raise UserError(
            f"{name}: every training sample is the only one of its class, so that there is none to validate on"
        )
    return kept, drawn


def _count(amount: float, num_samples: int, name: str) -> int:
    """Return the number of validation samples."""
    count = max(1, round(amount * num_samples)) if amount < 1 else int(amount)
    if count >= num_samples:
        raise UserError(
            f"--validation {amount:g} takes {count:,} of the {num_samples:,} training samples of {name}: nothing is "
            "left to train on"
        )
    return count


def with_validation(dataset: Dataset, amount: float, seed: int, draw: Draw = "stratified", fold: str = "") -> Dataset:
    """Return ``dataset`` with a validation split, the same on any number of ranks; of text, its end.

    Parameters
    ----------
    amount : float
        The share of the training samples if below 1, else their number, a whole one; 0 for no validation split.
    seed : int
        Seed of the draw, which is independent of that of the test samples.
    draw : "stratified" or "random"
        Stratified draws the same share of each class and leaves a training sample of each; numbers and classes of
        pixels are drawn at random.
    fold : str
        "K/N" for the K-th of N folds of the training samples, in place of ``amount``; the folds of one seed have each
        sample once.

    Raises
    ------
    UserError
        If nothing is left to train on.

    >>> from mpitrain.data import open_dataset
    >>> data = with_validation(open_dataset("digits"), 0.1, seed=0)
    >>> len(data.train), len(data.validation), len(data.test)
    (1293, 144, 360)
    """
    if not amount and not fold:
        return dataset
    if dataset.validation is not None:
        option = f"--fold {fold}" if fold else f"--validation {amount:g}"
        raise UserError(f"{option} draws validation samples, but {dataset.name} has some of its own: leave it out")
    train = dataset.train
    if dataset.task == LANGUAGE_MODELING:
        if fold:
            raise UserError("--fold is for samples: a text has neighbors in other folds; take --validation, its end")
        from .text import cut_windows

        left, validation = cut_windows(train, _count(amount, len(train), dataset.name))
        return dataclasses.replace(dataset, train=left, validation=validation)
    kept, drawn = validation_rows(train.y, amount, seed, draw, fold, dataset.name)
    left, validation = (Split(select(train.x, rows), train.y[rows], train.hidden) for rows in (kept, drawn))
    return dataclasses.replace(dataset, train=left, validation=validation)
