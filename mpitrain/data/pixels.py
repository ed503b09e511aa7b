"""Classes of pixels, the targets of segmentation: integers (N, H, W), numbered in ascending order.

Shapes: N images of H x W pixels; K classes.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ..errors import UserError
from .dataset import UNLABELED

MARKS = (-1, UNLABELED)
"""Labels of pixels that count for nothing, in any array."""

VOID = 255
"""The same in bytes, where the other labels count from 0 or 1 on."""

_MANY = 256  # distinct integers from which on they may be amounts and not classes
_RANGE = 1 << 16  # of labels that are counted in a table
_CHUNK = 1 << 22  # pixels looked at in one go


def has_pixel_targets(y: np.ndarray) -> bool:
    """Return whether targets have the dims of images, (N, H, W) or more."""
    return y.ndim >= 3


def number_pixels(
    parts: Sequence[tuple[str, np.ndarray, np.ndarray]], class_names: tuple[str, ...] = (), *, asked: bool = True
) -> tuple[list[np.ndarray], tuple[str, ...], tuple[str, ...]]:
    """Number the labels of the pixels of all parts in ascending order.

    Parameters
    ----------
    parts : sequence of (where, x, y)
        The beginning of messages, images (N, H, W, C) and their labels (N, H, W) or (N, H, W, 1), of each split.
    class_names : tuple of str, optional
        Names of the classes, if labels are places in them; otherwise the digits of a label are its name.
    asked : bool
        False refuses labels that may be amounts.

    Returns
    -------
    targets : list of (N, H, W) arrays
        Of the smallest signed integers that hold them; ``UNLABELED`` where the label is one of ``MARKS``, or ``VOID``.
    names : tuple of str
    notes : tuple of str
        Sentences about pixels without a label.

    Raises
    ------
    UserError
        If labels have another shape than the images, are no whole numbers or negative, are all equal, have no name
        among ``class_names``, or a class is only in the last part.
    """
    labels = [_labels(x, y, where) for where, x, y in parts]
    found = [_distinct(y) for y in labels]
    void = {VOID} if _has_void(labels, found) else set[int]()
    where = parts[0][0]
    values = sorted({value for counts in found for value in counts} - void - set(MARKS))
    _check_values(values, class_names, where, asked=asked)
    for (part, _, _), counts in zip(parts[1:], found[1:], strict=True):
        unseen = [value for value in counts if value in values and value not in found[0]]
        if unseen:
            raise UserError(f"{part}: the class {unseen[0]} is in no training image")
    names = class_names or tuple(map(str, values))
    codes = {value: value if class_names else code for code, value in enumerate(values)}
    targets = [_coded(y, codes, len(names)) for y in labels]
    return targets, names, tuple(_notes(parts, found, void))


def pixel_codes(x: np.ndarray, y: np.ndarray, where: str, known: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the distinct labels as text, and the place among them of each pixel, (N, H, W).

    Labels are as in ``number_pixels``, but ``VOID`` in bytes is one only if it is among the ``known`` ones.
    """
    labels = _labels(x, y, where)
    void = {VOID} if labels.dtype == np.uint8 and str(VOID) not in known else set[int]()
    values = sorted(_distinct(labels).keys() - void - set(MARKS))
    if values and values[0] < 0:
        raise _negative(values[0], where)
    return list(map(str, values)), _coded(labels, {value: code for code, value in enumerate(values)}, len(values))


def renumbered(y: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """Return targets with class k as ``numbers[k]``; pixels without a label stay so."""
    return _coded(y, dict(enumerate(numbers)), max(numbers, default=0) + 1)


def count_pixels(y: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the number of pixels of each class, (K,) int64."""
    counts = np.zeros(num_classes, np.int64)
    for part in _chunks(y):
        counts += np.bincount(part[part >= 0], minlength=num_classes)
    return counts


def classes_of_images(y: np.ndarray) -> np.ndarray:
    """Return the classes in each image, one after the other: a class counts once for each image that has it."""
    found = [np.unique(image[image >= 0]).astype(np.int64) for image in y]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def as_classes(y: np.ndarray) -> np.ndarray:
    """Return targets as losses and metrics take them: classes as int64."""
    return y.astype(np.int64) if y.dtype.kind == "i" and y.dtype.itemsize < 8 else y


def _labels(x: np.ndarray, y: np.ndarray, where: str) -> np.ndarray:
    """Return labels as (N, H, W) integers."""
    if x.ndim not in (3, 4):
        raise UserError(f"{where}: the targets have the shape {y.shape}, but the samples, {x.shape}, are no images")
    if y.ndim == 4 and y.shape[3] == 1:
        y = y[..., 0]
    if y.ndim == 4:
        raise UserError(
            f"{where}: the targets have the shape {y.shape}, expected one class for each pixel, (N, H, W): if they are "
            "one-hot, save y.argmax(-1)"
        )
    if y.ndim != 3:
        raise UserError(f"{where}: the targets have the shape {y.shape}, but segmentation needs (N, H, W)")
    if y.shape[1:] != x.shape[1:3]:
        sizes = [f"{height}x{width}" for height, width in (y.shape[1:], x.shape[1:3])]
        raise UserError(f"{where}: targets of {sizes[0]} pixels for images of {sizes[1]}: each pixel needs a class")
    if y.dtype.kind not in "buif":
        raise UserError(f"{where}: the classes of pixels are of type {y.dtype}, expected integers")
    return _whole(y, where) if y.dtype.kind == "f" else y


def _whole(y: np.ndarray, where: str) -> np.ndarray:
    """Return integers that were stored as floats."""
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(y) & (y == np.floor(y)) & (np.abs(y) < 2.0**31)
    if not whole.all():
        image, row, column = np.argwhere(~whole)[0].tolist()
        raise UserError(
            f"{where}: classes of pixels are integers, but image {image} has {y[image, row, column]:g} in row {row}, "
            f"column {column}"
        )
    return y.astype(np.int32)


def _distinct(y: np.ndarray) -> dict[int, int]:
    """Return the distinct labels in ascending order, each with its number of pixels."""
    low, high = (int(y.min()), int(y.max())) if y.size else (0, 0)
    if high - low >= _RANGE:
        values, counts = np.unique(y, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))
    table = np.zeros(high - low + 1, np.int64)
    for part in _chunks(y):
        table += np.bincount(part.astype(np.int64) - low, minlength=len(table))
    return {int(place) + low: int(table[place]) for place in np.flatnonzero(table)}


def _has_void(labels: Sequence[np.ndarray], found: Sequence[dict[int, int]]) -> bool:
    """Return whether 255 stands for no label: in bytes whose other labels are 0 or 1 and all up to some number."""
    others = sorted({value for counts in found for value in counts} - {VOID})
    counting = len(others) > 1 and others[0] in (0, 1) and others == list(range(others[0], others[-1] + 1))
    return counting and all(y.dtype == np.uint8 for y in labels) and any(VOID in counts for counts in found)


def _check_values(values: list[int], class_names: tuple[str, ...], where: str, *, asked: bool) -> None:
    if not values:
        raise UserError(f"{where}: no pixel has a label")
    if values[0] < 0:
        raise _negative(values[0], where)
    if class_names and values[-1] >= len(class_names):
        last = len(class_names) - 1
        raise UserError(f"{where}: expected labels from 0 to {last}, one per class name, found {values[-1]}")
    if len(values) == 1 and not class_names:
        raise UserError(f"{where}: all pixels are of the class {values[0]}, so there is nothing to learn")
    if len(values) > _MANY and not asked:
        raise UserError(
            f"{where}: the pixels have {len(values):,} distinct integers, which may be amounts or classes: "
            "--task segmentation takes them for classes"
        )


def _negative(value: int, where: str) -> UserError:
    return UserError(
        f"{where}: a pixel has the class {value}: classes are integers from 0 on, and only {MARKS[0]} and {MARKS[1]} "
        "mark a pixel without a label"
    )


def _coded(y: np.ndarray, codes: dict[int, int], num_classes: int) -> np.ndarray:
    """Return the code of each label; ``UNLABELED`` for others."""
    dtype = next(t for t in (np.int8, np.int16, np.int32) if num_classes - 1 <= np.iinfo(t).max)
    out = np.full(y.shape, UNLABELED, dtype)
    low, high = min(codes, default=0), max(codes, default=0)
    if high - low < _RANGE:
        table = np.full(high - low + 2, UNLABELED, dtype)  # the last place is that of all others
        table[[value - low for value in codes]] = list(codes.values())
        for part, result in zip(_chunks(y), _chunks(out), strict=True):
            inside = (part >= low) & (part <= high)
            result[...] = table[np.where(inside, part.astype(np.int64) - low, len(table) - 1)]
        return out
    for value, code in codes.items():
        out[y == value] = code
    return out


def _chunks(y: np.ndarray) -> Iterator[np.ndarray]:
    """Yield all pixels as flat arrays, views if ``y`` is contiguous."""
    flat = y.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        yield flat[start : start + _CHUNK]


def _notes(
    parts: Sequence[tuple[str, np.ndarray, np.ndarray]], found: Sequence[dict[int, int]], void: set[int]
) -> Iterator[str]:
    for (where, _, _), counts in zip(parts, found, strict=True):
        marks = sorted({*MARKS, *void} & counts.keys())
        if marks:
            share = sum(counts[mark] for mark in marks) / sum(counts.values())
            named = " and ".join(map(str, marks))
            yield f"{where}: {share:.3g} of the pixels have no label ({named}): they count for nothing"
