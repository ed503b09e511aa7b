"""Validation split, drawn from the training samples, so that choices do not use the test set."""

import dataclasses

from ..errors import UserError
from .dataset import LANGUAGE_MODELING, Dataset, Split
from .draw import Draw, validation_count, validation_rows
from .lazy import select


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

        left, validation = cut_windows(train, validation_count(amount, len(train), dataset.name))
        return dataclasses.replace(dataset, train=left, validation=validation)
    kept, drawn = validation_rows(train.y, amount, seed, draw, fold, dataset.name)
    left, validation = (Split(select(train.x, rows), train.y[rows], train.hidden) for rows in (kept, drawn))
    return dataclasses.replace(dataset, train=left, validation=validation)
