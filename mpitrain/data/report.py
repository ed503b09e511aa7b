"""Text report on a dataset: shapes, ranges, classes and duplicates.

Shapes: N samples.
"""

import math

import numpy as np

from .dataset import CLASSIFICATION, LANGUAGE_MODELING, SEGMENTATION, Dataset, Split
from .mapped import is_mapped
from .pixels import count_pixels
from .text.report import describe_text, describe_texts

_ELEMENTS = 1 << 22  # of a mapped array that are looked at in one go
_MOST_CLASSES = 20
_MOST_COMPARED = 1 << 20  # samples


def describe_dataset(dataset: Dataset) -> list[str]:
    """Return lines on both splits of a dataset, and on doubtful data in them."""
    lines = [f"{dataset.name}: {dataset.task}" + (f" of {dataset.target_name}" if dataset.target_name else "")]
    if dataset.task == LANGUAGE_MODELING:
        return lines + describe_text(dataset)
    if dataset.vocabulary:
        return lines + describe_texts(dataset) + _describe_classes(dataset)
    for name, split in (("training", dataset.train), ("test", dataset.test)):
        lines += [f"  {name:<9}x {_describe(split.x)}"]
        if dataset.task == SEGMENTATION:
            unlabeled = int((split.y < 0).sum())
            more = f", {unlabeled:,} pixels without a label" if unlabeled else ""
            lines += [f"  {'':<9}y {split.y.shape} classes of pixels{more}"]
        elif dataset.task != CLASSIFICATION:
            lines += [f"  {'':<9}y {_describe(split.y)}"]
    if dataset.task in (CLASSIFICATION, SEGMENTATION):
        lines += _describe_classes(dataset)
    return lines + [f"! {line}" for line in _copies(dataset.train, dataset.test)]


def _describe(x: np.ndarray) -> str:
    """Return shape, dtype and range, looking at some rows at a time: there may be more of them than memory."""
    at_once = max(1, _ELEMENTS // max(1, math.prod(x.shape[1:])))
    parts = [x[start : start + at_once] for start in range(0, len(x), at_once)] if is_mapped(x) else [x]
    low, high = min(float(part.min()) for part in parts), max(float(part.max()) for part in parts)
    mean = sum(float(part.sum(dtype=np.float64)) for part in parts) / x.size
    return f"{x.shape} {x.dtype}, {low:.6g} to {high:.6g}, mean {mean:.6g}"


def _describe_classes(dataset: Dataset) -> list[str]:
    num_classes = dataset.num_outputs
    count = count_pixels if dataset.task == SEGMENTATION else _count
    train, test = (count(split.y, num_classes) for split in (dataset.train, dataset.test))
    names = dataset.class_names or tuple(str(k) for k in range(num_classes))
    shown = [" ".join(name.split())[:40] for name in names[:_MOST_CLASSES]]
    width = max(map(len, [*shown, "class"]))
    digits = max(8, *(len(f"{largest:,}") for largest in (train.max(), test.max())))
    lines = [f"  {'class':<{width}}  {'training':>{digits}}  {'test':>{digits}}"]
    lines += [f"  {name:<{width}}  {train[k]:>{digits},}  {test[k]:>{digits},}" for k, name in enumerate(shown)]
    if num_classes > _MOST_CLASSES:
        lines.append(f"  and {num_classes - _MOST_CLASSES:,} more classes")
    return lines


def _count(y: np.ndarray, num_classes: int) -> np.ndarray:
    return np.bincount(y, minlength=num_classes)


def _copies(train: Split, test: Split) -> list[str]:
    """Return the number of duplicate samples, and of test samples that are also training samples."""
    if len(train) + len(test) > _MOST_COMPARED:
        return []
    learned = {hash(np.ascontiguousarray(x).tobytes()) for x in train.x}
    lines = []
    twice = len(train) - len(learned)
    if twice:
        lines.append(f"{twice:,} training samples are copies of others")
    leaked = sum(hash(np.ascontiguousarray(x).tobytes()) in learned for x in test.x)
    if leaked:
        lines.append(f"{leaked:,} test samples are training samples as well")
    return lines
