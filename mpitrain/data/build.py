"""Make a Dataset of the raw arrays that a source has read."""

import numpy as np

from ..errors import UserError
from .checks import check_counts, check_features, check_labels, check_targets
from .dataset import CLASSIFICATION, REGRESSION, Dataset, Split
from .rng import SPLIT, random_order

Arrays = tuple[np.ndarray, np.ndarray]  # samples and raw targets of one split


def image_dataset(name: str, train: Arrays, test: Arrays, class_names: tuple[str, ...], task: str | None) -> Dataset:
    """Return a set of images whose classes and splits are fixed.

    Parameters
    ----------
    train, test : (x, labels)
        (N, H, W, C) uint8 and (N,) integers.

    Raises
    ------
    UserError
        If regression is asked for, a split is empty, the shapes of the splits differ or a label is out of range.
    """
    if task == REGRESSION:
        raise UserError(f"{name} is a set of images in {len(class_names)} classes: it has no targets for regression")
    num_classes = len(class_names)
    splits = []
    for part, (x, labels) in (("training", train), ("test", test)):
        check_counts(len(x), len(labels), f"{name}, {part} split")
        x = check_features(x, f"{name}: the {part} images")
        splits.append(Split(x, check_labels(labels, num_classes, f"{name}, {part} split")))
    _check_same_shape(splits[0].x, splits[1].x, name)
    return Dataset(name, CLASSIFICATION, splits[0], splits[1], num_classes, class_names)


def build_dataset(
    name: str,
    where: str,
    train: Arrays,
    test: Arrays | None,
    *,
    task: str | None,
    test_fraction: float,
    seed: int,
    feature_names: tuple[str, ...] = (),
    target_name: str = "",
    note: str = "",
) -> Dataset:
    """Return a Dataset of arrays of any kind.

    Parameters
    ----------
    where : str
        The file, for messages.
    train, test : (x, y)
        Without ``test`` a share ``test_fraction`` of ``train`` is drawn by ``seed``.
    task : str or None
        None decides by the type of y: floats or several columns are for regression, text and integers are classes.

    Raises
    ------
    UserError
        If samples and targets do not fit each other or the task, or a value is NaN or infinite.
    """
    if task is None:
        task, note = _task_of(train[1], where)
    check_counts(len(train[0]), len(train[1]), where)
    train = check_features(train[0], f"{where}: the samples", feature_names), train[1]
    if test is None:
        train, test = _take_apart(train, where, test_fraction, seed)
    else:
        check_counts(len(test[0]), len(test[1]), f"{where}, test split")
        test = check_features(test[0], f"{where}: the test samples", feature_names), test[1]
        _check_same_shape(train[0], test[0], where)
    names = (target_name,) if target_name else ()
    class_names: tuple[str, ...] = ()
    if task == CLASSIFICATION:
        y, y_test, class_names = _classes(train[1], test[1], where)
        num_outputs = len(class_names)
    else:
        y, y_test = (check_targets(part[1], f"{where}: the targets", names) for part in (train, test))
        num_outputs = y.shape[1]
        if y_test.shape[1] != num_outputs:
            raise UserError(f"{where}: {num_outputs} targets for training, but {y_test.shape[1]} for testing")
    splits = Split(train[0], y), Split(test[0], y_test)
    return Dataset(name, task, *splits, num_outputs, class_names, feature_names, target_name, note)


def _task_of(y: np.ndarray, where: str) -> tuple[str, str]:
    single = y.ndim == 1 or y.shape[1:] == (1,)
    if single and y.dtype.kind in "buiUSO":
        kind = "integers" if y.dtype.kind in "bui" else "text"
        return CLASSIFICATION, f"{where}: classification, since the targets are {kind}"
    kind = "floats" if single else "in several columns"
    return REGRESSION, f"{where}: regression, since the targets are {kind}"


def _take_apart(whole: Arrays, where: str, test_fraction: float, seed: int) -> tuple[Arrays, Arrays]:
    """Draw a test split; both parts keep the order of the file."""
    x, y = whole
    if len(x) < 2:
        raise UserError(f"{where}: 1 sample cannot be split into one part to train and one to test")
    num_test = min(max(1, round(len(x) * test_fraction)), len(x) - 1)
    order = random_order(len(x), seed, SPLIT)
    test, train = np.sort(order[:num_test]), np.sort(order[num_test:])
    return (x[train], y[train]), (x[test], y[test])


def _classes(y: np.ndarray, y_test: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Number the distinct labels of both splits in sorted order; their text is the class's name."""
    both = [_labels(part, where) for part in (y, y_test)]
    values, numbers = np.unique(np.concatenate(both), return_inverse=True)
    if len(values) < 2:
        raise UserError(f"{where}: all samples are of the class {str(values[0])!r}, so there is nothing to learn")
    train, test = np.split(numbers.astype(np.int64), [len(y)])
    unseen = np.setdiff1d(test, train)
    if unseen.size:
        raise UserError(f"{where}: no sample of the class {str(values[unseen[0]])!r} to train on, but one to test on")
    return train, test, tuple(str(value) for value in values)


def _labels(y: np.ndarray, where: str) -> np.ndarray:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise UserError(f"{where}: the class labels have the shape {y.shape}, expected (N,)")
    if y.dtype.kind == "f":
        wrong = np.flatnonzero(y != np.floor(y))  # NaN too
        if wrong.size or np.isinf(y).any():
            row = wrong[0] if wrong.size else np.flatnonzero(np.isinf(y))[0]
            raise UserError(f"{where}: class labels are text or integers, but row {row} has {y[row]:g}")
        return y.astype(np.int64)
    return y.astype(str) if y.dtype.kind in "SO" else y


def _check_same_shape(x: np.ndarray, x_test: np.ndarray, where: str) -> None:
    if x.shape[1:] != x_test.shape[1:]:
        shapes = f"{x.shape[1:]} and {x_test.shape[1:]}"
        raise UserError(f"{where}: samples to train and to test on have different shapes, {shapes}")
