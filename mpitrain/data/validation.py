"""Validation split, drawn from the training samples, so that choices do not use the test set."""

import dataclasses

import numpy as np

from ..errors import UserError
from ..run_rules import parse_fold
from .dataset import LANGUAGE_MODELING, Dataset, Split
from .draw import Draw, draw_fold, draw_rows
from .lazy import select
from .rng import VALIDATION


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
    if fold:
        return _with_fold(dataset, *parse_fold(fold), seed, draw)
    train = dataset.train
    count = max(1, round(amount * len(train))) if amount < 1 else int(amount)
    if count >= len(train):
        raise UserError(
            f"--validation {amount:g} takes {count:,} of the {len(train):,} training samples of {dataset.name}: "
            "nothing is left to train on"
        )
    if dataset.task == LANGUAGE_MODELING:
        from .text import cut_windows

        left, validation = cut_windows(train, count)
        return dataclasses.replace(dataset, train=left, validation=validation)
    kept, drawn = draw_rows(train.y, count, draw, seed, VALIDATION)
    if not len(drawn):
        raise UserError(
            f"{dataset.name}: every training sample is the only one of its class, so that there is none to validate on"
        )
    return _divided(dataset, kept, drawn)


def _with_fold(dataset: Dataset, fold: int, count: int, seed: int, draw: Draw) -> Dataset:
    train = dataset.train
    if dataset.task == LANGUAGE_MODELING:
        raise UserError("--fold is for samples: a text has neighbors in other folds; take --validation, its end")
    if count > len(train):
        raise UserError(f"--fold {fold}/{count}: {dataset.name} has only {len(train):,} training samples")
    return _divided(dataset, *draw_fold(train.y, fold - 1, count, draw, seed, VALIDATION))


def _divided(dataset: Dataset, kept: np.ndarray, drawn: np.ndarray) -> Dataset:
    train = dataset.train
    left, validation = (Split(select(train.x, rows), train.y[rows], train.hidden) for rows in (kept, drawn))
    return dataclasses.replace(dataset, train=left, validation=validation)
