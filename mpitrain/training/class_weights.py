"""Weights of classes in the loss, from text: ``balanced``, or ``a:1,b:2`` by the names of the classes."""

from collections.abc import Sequence

import numpy as np

from ..data.dataset import CLASSIFICATION, SEGMENTATION, Dataset
from ..data.pixels import count_pixels
from ..errors import UserError
from ..suggest import suggest

BALANCED = "balanced"


def class_weights_of(text: str, dataset: Dataset) -> tuple[float, ...]:
    """Return the weight of each class; none for the empty text.

    They are scaled so that the mean weight of the training samples is 1: the loss stays a mean, and the learning rate
    keeps its meaning. All ranks have all targets, so that the weights do not depend on the number of ranks.

    Parameters
    ----------
    text : str
        ``balanced`` for the inverse of the number of training samples, or pixels, of each class (King and Zeng 2001),
        or ``NAME:WEIGHT,NAME:WEIGHT``; a class that is not named weighs 1 before the scaling.
    dataset : Dataset

    Raises
    ------
    UserError
        For targets that are not classes, an unknown class, a negative or non-finite weight, or no weight above 0.

    >>> from mpitrain.data import Split
    >>> y = np.array([0, 0, 0, 1])
    >>> data = Dataset("set", "classification", Split(y[:, None], y), Split(y[:, None], y), 2, ("a", "b"))
    >>> class_weights_of("balanced", data), class_weights_of("b:5", data)
    ((0.6666666666666666, 2.0), (0.5, 2.5))
    """
    if not text:
        return ()
    if dataset.task not in (CLASSIFICATION, SEGMENTATION):
        raise UserError(f"--class-weights is for {CLASSIFICATION} and {SEGMENTATION}: the task is {dataset.task}")
    if dataset.task == SEGMENTATION:
        counts = count_pixels(dataset.train.y, dataset.num_outputs)
    else:
        counts = np.bincount(dataset.train.y, minlength=dataset.num_outputs)
    if text == BALANCED:
        weights = np.divide(1.0, counts, out=np.zeros(len(counts)), where=counts > 0)
    else:
        weights = _parse(text, dataset)
    total = float(weights @ counts)
    if not total > 0:
        raise UserError(f"--class-weights {text}: the training samples weigh nothing")
    scaled: list[float] = (weights * (counts.sum() / total)).tolist()
    return tuple(1.0 if text == BALANCED and not count else weight for weight, count in zip(scaled, counts))


def _parse(text: str, dataset: Dataset) -> np.ndarray:
    names: Sequence[str] = dataset.class_names or [str(k) for k in range(dataset.num_outputs)]
    weights, seen = np.ones(len(names)), set()
    for part in text.split(","):
        name, colon, number = (word.strip() for word in part.rpartition(":"))
        if not colon:
            raise UserError(f"--class-weights is {BALANCED!r} or CLASS:WEIGHT,CLASS:WEIGHT, not {text!r}")
        if name not in names:
            raise UserError(f"--class-weights: {dataset.name} has no class {name!r}; {suggest(name, names)}")
        if name in seen:
            raise UserError(f"--class-weights: the class {name!r} is given twice")
        seen.add(name)
        weights[list(names).index(name)] = _weight(name, number)
    return weights


def _weight(name: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise UserError(f"--class-weights: the weight of {name!r} is {text!r}, but must be a number, 0 or more")
    return weight
