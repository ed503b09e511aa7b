"""Examples of a run for people to look at: the confusion matrix, and the test samples with the largest losses.

Shapes: N test samples, of which n are examined; K classes or targets.
"""

from typing import Any

import numpy as np

from ...data.dataset import CLASSIFICATION, LANGUAGE_MODELING, SEGMENTATION, Dataset, Split
from ...data.lazy import LazyRows, PickedRows
from ...metrics.base import IGNORED
from ...plain_text import visible
from .evaluation import Evaluator
from .maps import MOST_CLASSES, judge_images, pictures, predicted_maps
from .pictures import as_png, ends
from .scores import Scoring

LEAST_SAMPLES, MOST_SAMPLES = 256, 20_000
"""Bounds of the samples of the test split that are examined, spread over it evenly where it has more."""

MOST_WINDOWS = 64
"""Windows of text that are examined, whose evaluation takes no longer than a step of training or so."""

NUM_WORST = 16
MOST_PAIRS = 30
MOST_FEATURES = 12
MOST_TOKENS = 80
UNKNOWN = "unknown"
"""A category that the training samples did not have, or none."""


def examine(evaluator: Evaluator, dataset: Dataset, scoring: Scoring, most: int = MOST_SAMPLES) -> dict[str, Any]:
    """Return facts about single test samples, JSON-able, by the present weights (collective).

    At most ``most`` samples are examined, but ``LEAST_SAMPLES`` at least; the same number on all ranks.

    ``examined`` says how many of the ``samples`` they are about; ``worst`` lists those with the largest losses, and
    ``confusion`` has the number of samples, or pixels, of each class (row) that were predicted as each class (column);
    of many classes ``pairs`` has those that are confused most.
    """
    text = dataset.task == LANGUAGE_MODELING
    rows = spread(len(dataset.test), MOST_WINDOWS if text else min(MOST_SAMPLES, max(LEAST_SAMPLES, most)))
    part = _rows_of(dataset.test, rows)
    facts: dict[str, Any] = {"task": dataset.task, "samples": len(dataset.test), "examined": len(rows)}
    if text:
        sums = evaluator.row_sums(part, scoring)
        weights = np.maximum(sums[:, 0], 1)
        losses, told = sums[:, 1] / weights, [{"accuracy": _rounded(share)} for share in sums[:, 2] / weights]
    elif dataset.task == CLASSIFICATION:
        losses, predicted, told = _classify(evaluator, dataset, part)
        facts |= confusion(part.y[:], predicted, dataset.class_names, dataset.num_outputs)
    elif dataset.task == SEGMENTATION:
        losses, accuracy, matrix = judge_images(evaluator, part, dataset.num_outputs)
        told = [{"accuracy": _rounded(share)} for share in accuracy]
        facts |= {"confusion": matrix.tolist()} if len(matrix) else {}
    else:
        losses, told = _regress(evaluator, dataset, part, scoring)
    order = np.argsort(-np.nan_to_num(losses, nan=np.inf), kind="stable")[:NUM_WORST]
    shown = [part.x[k : k + 1][0] for k in order.tolist()]
    if dataset.task == SEGMENTATION:
        some = Split(part.x[order], part.y[order])
        contents = pictures(some.x, some.y, predicted_maps(evaluator, some))
    else:
        contents = _pictures(shown) if part.x.ndim == 4 else [_content(dataset, sample) for sample in shown]
    facts["worst"] = [
        {"row": int(rows[k]), "loss": _rounded(losses[k]), **told[k], **content}
        for k, content in zip(order.tolist(), contents, strict=True)
    ]
    return facts


def spread(count: int, most: int) -> np.ndarray:
    """Return at most ``most`` of ``count`` rows, in order and evenly spread.

    >>> spread(5, 9).tolist(), spread(9, 3).tolist()
    ([0, 1, 2, 3, 4], [0, 3, 6])
    """
    if count <= most:
        return np.arange(count)
    return np.arange(most) * count // most


def confusion(targets: np.ndarray, predicted: np.ndarray, names: tuple[str, ...], num_classes: int) -> dict[str, Any]:
    """Return the matrix of a few classes whole, and of many the right ones and the pairs that are confused most.

    Parameters
    ----------
    targets, predicted : (n,) arrays of int64
        Targets that do not count are IGNORED.
    """
    counted = targets != IGNORED
    targets, predicted = targets[counted], predicted[counted]
    if num_classes <= MOST_CLASSES:
        codes = np.bincount(targets * num_classes + predicted, minlength=num_classes * num_classes)
        return {"confusion": codes.reshape(num_classes, num_classes).tolist()}
    wrong = targets != predicted
    codes, counts = np.unique(targets[wrong] * num_classes + predicted[wrong], return_counts=True)
    most = np.argsort(-counts, kind="stable")[:MOST_PAIRS]
    pairs = [(*divmod(int(codes[k]), num_classes), int(counts[k])) for k in most]
    return {"pairs": [{"class": _name(names, a), "predicted": _name(names, b), "count": n} for a, b, n in pairs]}


def _classify(
    evaluator: Evaluator, dataset: Dataset, part: Split
) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
    """Return the cross-entropy of each sample, its predicted class, and both in words."""
    found = evaluator.of_rows(part, 3, judge)
    losses, predicted, names = found[:, 0], found[:, 1].astype(np.int64), dataset.class_names
    told = [
        {"class": _name(names, int(true)), "predicted": _name(names, int(guess)), "probability": _rounded(sure)}
        for true, guess, sure in zip(part.y[:], predicted, found[:, 2], strict=True)
    ]
    return losses, predicted, told


def judge(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return (n, 3) float64: the cross-entropy of each sample, the predicted class and its probability.

    A sample whose target does not count has no loss. Label smoothing and class weights are left out.
    """
    at, counted = np.arange(len(targets)), targets != IGNORED
    predicted = outputs.argmax(axis=1)
    with np.errstate(invalid="ignore"):  # outputs that are infinite
        shifted = outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True)
        sums = np.log(np.exp(shifted).sum(axis=1))
        losses = np.where(counted, sums - shifted[at, np.where(counted, targets, 0)], 0.0)
        return np.stack([losses, predicted, np.exp(shifted[at, predicted] - sums)], axis=1)


def _regress(
    evaluator: Evaluator, dataset: Dataset, part: Split, scoring: Scoring
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return the squared errors in units of the deviation of each target, and targets with their predictions."""

    def read(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return scoring.readable(outputs.reshape(targets.shape))

    predicted = evaluator.of_rows(part, dataset.num_outputs, read)
    deviation = dataset.test.y.std(axis=0, dtype=np.float64) if len(dataset.test) else np.ones(dataset.num_outputs)
    with np.errstate(over="ignore", invalid="ignore"):
        losses = (((predicted - part.y) / np.where(deviation > 0, deviation, 1.0)) ** 2).mean(axis=1)
    told = [
        {"target": [_rounded(v) for v in true], "predicted": [_rounded(v) for v in guess]}
        for true, guess in zip(part.y, predicted, strict=True)
    ]
    return losses, told


def _rows_of(split: Split, rows: np.ndarray) -> Split:
    if len(rows) == len(split):
        return split
    x, y = (PickedRows(v, rows) if isinstance(v, LazyRows) else v[rows] for v in (split.x, split.y))
    return Split(x, y)


def _pictures(images: list[np.ndarray]) -> list[dict[str, Any]]:
    black, white = ends(np.stack(images)) if images else (0.0, 0.0)
    return [{"image": as_png(image, black, white)} for image in images]


def _content(dataset: Dataset, sample: np.ndarray) -> dict[str, Any]:
    """Return a sample as people see it: the beginning of a text, or the values of a table's columns."""
    if sample.dtype.kind in "iu" and dataset.vocabulary:
        tokens = sample[:MOST_TOKENS]
        tokens = tokens[tokens >= 0].tolist()
        return {"text": visible(dataset.tokenizer.decode(tokens)) if dataset.tokenizer else " ".join(map(str, tokens))}
    values = sample.reshape(-1)[:MOST_FEATURES].tolist()
    names = dataset.feature_names or [f"column {k}" for k in range(len(values))]
    categories = dataset.categories or (None,) * len(values)
    told = [
        _rounded(value) if one is None else one.name(int(value)) or UNKNOWN
        for value, one in zip(values, categories, strict=False)
    ]
    return {"features": dict(zip(names, told, strict=False))}


def _name(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else str(number)


def _rounded(value: float) -> float:
    """Return a number with the digits that float32 has."""
    return float(f"{float(value):.6g}")
