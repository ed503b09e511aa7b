"""Class labels: integers, text or bytes, numbered in sorted order. They never pass through floating point."""

import re
from collections.abc import Iterable

import numpy as np

from ..errors import UserError

_MANY = 20  # distinct integers from which on they may be amounts and not classes


def number_classes(
    parts: list[np.ndarray], where: str, class_names: tuple[str, ...] = ()
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Number the distinct labels of all parts in sorted order.

    Parameters
    ----------
    parts : list of (N,) or (N, 1) arrays
        Raw labels of the training samples, and of the test samples if they are separate.
    where : str
        The file, for messages.
    class_names : tuple of str, optional
        Names of the classes, if labels are places in them; otherwise the text of a label is its name.

    Returns
    -------
    targets : list of (N,) arrays of int64
    names : tuple of str
        The text of each label; bytes that are not UTF-8 are written as ``\\\\xff``.

    Raises
    ------
    UserError
        If labels have another shape, are no text or whole numbers, are all equal, have no name among ``class_names``,
        or a class is only in the last part.
    """
    values, numbers = np.unique(_joined([_labels(y, where) for y in parts], where), return_inverse=True)
    names = _given_names(values, class_names, where) if class_names else _names(values, where)
    if len(names) == 1:
        raise UserError(f"{where}: all samples are of the class {names[0]!r}, so there is nothing to learn")
    targets = np.split(numbers.astype(np.int64), [len(parts[0])])[: len(parts)]
    unseen = np.setdiff1d(targets[-1], targets[0])
    if unseen.size:
        raise UserError(f"{where}: the class {names[unseen[0]]!r} is in the test split, but not in the training one")
    return targets, names


def label_codes(y: np.ndarray, where: str) -> tuple[list[str], np.ndarray]:
    """Return the distinct labels in ``y`` (N,), named as by ``number_classes``, and each sample's position among them.

    Raises
    ------
    UserError
        If labels have another shape, or are no text or whole numbers.
    """
    values, codes = np.unique(_labels(y, where), return_inverse=True)
    return list(_names(values, where)), codes


def class_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Return distinct names of classes in order: whole numbers by their value, others as text.

    >>> class_order(["10", "9", "9"]), class_order(["b", "10", "9"])
    (('9', '10'), ('10', '9', 'b'))
    """
    distinct = set(labels)
    whole = all(re.fullmatch(r"[+-]?\d{1,18}", label) for label in distinct)
    return tuple(sorted(distinct, key=(lambda label: (int(label), label)) if whole else None))


def check_not_one_hot(y: np.ndarray, where: str) -> None:
    """Raise UserError if targets (N, K) are one-hot rows, which are classes."""
    if y.ndim != 2 or y.shape[1] < 2 or y.dtype.kind not in "buif" or not len(y):
        return
    if ((y == 0) | (y == 1)).all() and (np.count_nonzero(y, axis=1) == 1).all():
        raise UserError(
            f"{where}: the targets are one-hot, a single 1 in each row of {y.shape[1]}: save y.argmax(1) to learn "
            "classes, or ask for --task regression"
        )


def check_not_amounts(y: np.ndarray, where: str) -> None:
    """Raise UserError if integers are probably amounts and not classes: most of them are distinct."""
    distinct = len(np.unique(y))
    if distinct > max(_MANY, len(y) / 2):
        raise UserError(
            f"{where}: the targets are {distinct:,} distinct integers in {len(y):,} samples, which may be amounts or "
            "classes: say --task regression or --task classification"
        )


def _labels(y: np.ndarray, where: str) -> np.ndarray:
    check_not_one_hot(y, where)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise UserError(f"{where}: the class labels have the shape {y.shape}, expected (N,)")
    if y.dtype.kind == "f":
        return _whole(y, where)
    if y.dtype.kind not in "buiUSO":
        raise UserError(f"{where}: the class labels are of type {y.dtype}, expected text or integers")
    return y.astype(str) if y.dtype.kind == "O" else y


def _whole(y: np.ndarray, where: str) -> np.ndarray:
    """Return integer labels that were stored as floats as integers."""
    wrong = np.flatnonzero(~(np.isfinite(y) & (y == np.floor(y))))
    if wrong.size:
        raise UserError(f"{where}: class labels are text or integers, but row {wrong[0]} has {y[wrong[0]]:g}")
    digits = min(np.finfo(y.dtype).nmant + 1, 62)
    inexact = np.flatnonzero(np.abs(y) >= 2.0**digits)
    if inexact.size:
        raise UserError(
            f"{where}: the class labels are {y.dtype}, which cannot tell whole numbers from 2**{digits} on apart, and "
            f"row {inexact[0]} has {y[inexact[0]]:.0f}: save them as integers or text"
        )
    return y.astype(np.int64)


def _joined(parts: list[np.ndarray], where: str) -> np.ndarray:
    """Return all labels in one array, of Python integers if there is no common integer type."""
    first, last = parts[0].dtype, parts[-1].dtype
    groups = {"b": "truth values", "i": "integers", "u": "integers", "U": "text", "S": "bytes"}
    if groups[first.kind] != groups[last.kind]:
        raise UserError(
            f"{where}: the labels to train on are {groups[first.kind]}, but those to test on {groups[last.kind]}"
        )
    if first.kind in "iu" and np.result_type(first, last).kind == "f":  # int64 and uint64
        parts = [part.astype(object) for part in parts]
    return np.concatenate(parts)


def _given_names(values: np.ndarray, class_names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return the names of sorted, distinct labels, which are places in ``class_names``."""
    if values.dtype.kind not in "buiO":  # O: integers without a common type
        raise UserError(f"{where}: class names are for labels that are integers from 0 on, not {values.dtype}")
    places = [int(value) for value in values.tolist()]
    if not 0 <= places[0] <= places[-1] < len(class_names):
        wrong = places[0] if places[0] < 0 else places[-1]
        raise UserError(f"{where}: expected labels from 0 to {len(class_names) - 1}, one per class name, found {wrong}")
    return tuple(class_names[place] for place in places)


def _names(values: np.ndarray, where: str) -> tuple[str, ...]:
    if values.dtype.kind != "S":
        return tuple(str(value) for value in values)
    names = tuple(value.decode("utf-8", "backslashreplace") for value in values.tolist())
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{where}: two labels of bytes are both written {twice!r}: save them as text")
    return names
