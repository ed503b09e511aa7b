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
        check_counts(x, labels, f"{name}, {part} split")
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
    notes: tuple[str, ...] = (),
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
        task, notes = _task_of(train[1], where)
    parts = [(where, *train)] if test is None else [(where, *train), (f"{where}, test split", *test)]
    for part, x, y in parts:
        check_counts(x, y, part)
    samples = [check_features(x, f"{part}: the samples", feature_names) for part, x, _ in parts]
    _check_same_shape(samples[0], samples[-1], where)
    targets, num_outputs, class_names = _targets([y for _, _, y in parts], task, where, target_name)
    splits = [Split(x, y) for x, y in zip(samples, targets)]
    if test is None:
        splits = _take_apart(splits[0], where, test_fraction, seed)
    return Dataset(name, task, splits[0], splits[1], num_outputs, class_names, feature_names, target_name, notes)


def _task_of(y: np.ndarray, where: str) -> tuple[str, tuple[str, ...]]:
    single = y.ndim == 1 or y.shape[1:] == (1,)
    if single and y.dtype.kind in "buiUSO":
        kind = "integers" if y.dtype.kind in "bui" else "text"
        return CLASSIFICATION, (f"{where}: classification, since the targets are {kind}",)
    kind = "floats" if single else "in several columns"
    return REGRESSION, (f"{where}: regression, since the targets are {kind}",)


def _targets(
    parts: list[np.ndarray], task: str, where: str, target_name: str
) -> tuple[list[np.ndarray], int, tuple[str, ...]]:
    """Return the targets of each split, the number of outputs and the names of the classes."""
    if task == CLASSIFICATION:
        targets, class_names = _classes([_labels(y, where) for y in parts], where)
        return targets, len(class_names), class_names
    names = (target_name,) if target_name else ()
    targets = [check_targets(y, f"{where}: the targets", names) for y in parts]
    widths = [y.shape[1] for y in targets]
    if widths[0] != widths[-1]:
        raise UserError(f"{where}: {widths[0]} targets per sample to train on, but {widths[-1]} to test on")
    return targets, widths[0], ()


def _take_apart(whole: Split, where: str, test_fraction: float, seed: int) -> list[Split]:
    """Draw a test split; both parts keep the order of the file."""
    num_samples = len(whole)
    if num_samples < 2:
        raise UserError(f"{where}: 1 sample cannot be split into one part to train and one to test")
    num_test = min(max(1, round(num_samples * test_fraction)), num_samples - 1)
    order = random_order(num_samples, seed, SPLIT)
    return [Split(whole.x[rows], whole.y[rows]) for rows in (np.sort(order[num_test:]), np.sort(order[:num_test]))]


def _classes(parts: list[np.ndarray], where: str) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Number the distinct labels in sorted order; their text is the class's name."""
    values, numbers = np.unique(np.concatenate(parts), return_inverse=True)
    names = tuple(str(value) for value in values)
    if len(names) == 1:
        raise UserError(f"{where}: all samples are of the class {names[0]!r}, so there is nothing to learn")
    targets = np.split(numbers.astype(np.int64), [len(parts[0])])[: len(parts)]
    unseen = np.setdiff1d(targets[-1], targets[0])
    if unseen.size:
        raise UserError(f"{where}: the class {names[unseen[0]]!r} is in the test split, but not in the training one")
    return targets, names


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
    if y.dtype.kind == "S":
        return np.char.decode(y, "utf-8", "replace")
    return y.astype(str) if y.dtype.kind == "O" else y


def _check_same_shape(x: np.ndarray, x_test: np.ndarray, where: str) -> None:
    if x.shape[1:] != x_test.shape[1:]:
        shapes = f"{x.shape[1:]} and {x_test.shape[1:]}"
        raise UserError(f"{where}: samples to train and to test on have different shapes, {shapes}")
