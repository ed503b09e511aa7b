"""Build a Dataset from the raw arrays of a source."""

import numpy as np

from ..errors import UserError
from .categories import Category, check_categories, only_codes
from .checks import check_counts, check_features, check_labels, check_targets
from .dataset import CLASSIFICATION, REGRESSION, SEGMENTATION, Dataset, Split
from .draw import Draw, draw_test_split, note_rare_classes
from .labels import check_not_amounts, check_not_one_hot, number_classes
from .pixels import classes_of_images, has_pixel_targets, number_pixels

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
        If another task is asked for, a split is empty, the shapes of the splits differ or a label is out of range.
    """
    if task not in (None, CLASSIFICATION):
        raise UserError(f"{name} is a set of images in {len(class_names)} classes: it has no targets for {task}")
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
    draw: Draw = "stratified",
    feature_names: tuple[str, ...] = (),
    target_name: str = "",
    class_names: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    categories: tuple[Category | None, ...] = (),
    checked: bool = False,
) -> Dataset:
    """Return a Dataset made from arrays of any kind.

    Parameters
    ----------
    where : str
        The file, for messages.
    train, test : (x, y)
        Without ``test`` a share ``test_fraction`` of ``train`` is drawn by ``seed``.
    task : str or None
        None decides by y: floats or several columns are for regression, text and integers are classes, and (N, H, W)
        are classes of pixels.
    draw : "stratified" or "random"
        Whether each class gives the same share to the test split that is drawn.
    class_names : tuple of str, optional
        Names of the classes, if y holds places in them; otherwise their text is their name.
    notes : tuple of str
        Notes on the source for the user; more are added.
    categories : tuple of Category or None
        One per column of x, if some hold codes; x is (N, F) of any integers where all do.
    checked : bool
        Whether samples are in the form of ``Split`` already, and finite, so that they are not read here.

    Raises
    ------
    UserError
        If samples and targets do not fit each other or the task, a value is NaN or infinite, or the task is not clear.
    """
    parts = [(where, *train)] if test is None else [(where, *train), (f"{where}, test split", *test)]
    for part, x, y in parts:
        check_counts(x, y, part)
    asked = task is not None
    if task is None:
        task, why = _task_of(train[1], where)
        notes += (why,)
    samples = [x if checked else _samples(x, part, categories, feature_names) for part, x, _ in parts]
    _check_same_shape(samples[0], samples[-1], where)
    if task == SEGMENTATION:
        targets, class_names, more = number_pixels(parts, class_names, asked=asked)
        num_outputs, notes = len(class_names), notes + more
    else:
        targets, num_outputs, class_names = _targets([y for _, _, y in parts], task, where, target_name, class_names)
    splits = [Split(x, y) for x, y in zip(samples, targets)]
    if test is None:
        splits = draw_test_split(splits[0], where, test_fraction, seed, draw)
    if class_names:
        of_samples = [classes_of_images(split.y) if task == SEGMENTATION else split.y for split in splits]
        notes += note_rare_classes(of_samples[0], of_samples[1], class_names, where)
    names = class_names, feature_names, target_name, notes
    return Dataset(name, task, splits[0], splits[1], num_outputs, *names, categories=categories)


def _samples(
    x: np.ndarray, where: str, categories: tuple[Category | None, ...], feature_names: tuple[str, ...]
) -> np.ndarray:
    """Return samples in the form of ``Split``, checked."""
    check_categories(x, categories, where, feature_names)
    if only_codes(categories):
        return np.ascontiguousarray(x, np.int64)
    return check_features(x, f"{where}: the samples", feature_names)


def _task_of(y: np.ndarray, where: str) -> tuple[str, str]:
    """Return the task and a sentence with the reason."""
    if has_pixel_targets(y):
        return SEGMENTATION, f"{where}: segmentation, since the targets are classes of pixels, {y.shape}"
    single = y.ndim == 1 or y.shape[1:] == (1,)
    if single and y.dtype.kind in "buiUSO":
        kind = "integers" if y.dtype.kind in "bui" else "text"
        if y.dtype.kind in "ui":
            check_not_amounts(y, where)
        return CLASSIFICATION, f"{where}: classification, since the targets are {kind}"
    check_not_one_hot(y, where)
    kind = "floats" if single else "in several columns"
    return REGRESSION, f"{where}: regression, since the targets are {kind}"


def _targets(
    parts: list[np.ndarray], task: str, where: str, target_name: str, names_of_classes: tuple[str, ...]
) -> tuple[list[np.ndarray], int, tuple[str, ...]]:
    """Return the targets of each split, the number of outputs and the names of the classes."""
    if task == CLASSIFICATION:
        targets, class_names = number_classes(parts, where, names_of_classes)
        return targets, len(class_names), class_names
    names = (target_name,) if target_name else ()
    targets = [check_targets(y, f"{where}: the targets", names) for y in parts]
    widths = [y.shape[1] for y in targets]
    if widths[0] != widths[-1]:
        raise UserError(f"{where}: {widths[0]} targets per sample to train on, but {widths[-1]} to test on")
    return targets, widths[0], ()


def _check_same_shape(x: np.ndarray, x_test: np.ndarray, where: str) -> None:
    if x.shape[1:] != x_test.shape[1:]:
        shapes = f"{x.shape[1:]} and {x_test.shape[1:]}"
        raise UserError(f"{where}: samples to train and to test on have different shapes, {shapes}")
