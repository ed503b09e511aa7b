"""The arrays of an .npz archive by their names: x_train, X_train, train_images, trainX, labels_test and the like."""

import re
from pathlib import Path
from typing import NamedTuple

from ...errors import UserError

_SAMPLES = ("x", "data", "images", "image", "features", "inputs", "samples")  # the first is taken before the others
_TARGETS = ("y", "target", "targets", "labels", "label")
_SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("validation", "valid", "val", "dev"),
    "": ("",),
}
EXPECTED = "expected arrays named x and y, or x_train, y_train, x_test and y_test"

Pair = tuple[str, str]  # the names of samples and targets


class Choice(NamedTuple):
    """Choice of arrays.

    Attributes
    ----------
    train : (str, str)
        Names of samples and targets.
    test : (str, str) or None
        None where a test split is to be drawn.
    notes : tuple of str
        Sentences about arrays that are used for something else, or for nothing.
    """

    train: Pair
    test: Pair | None
    notes: tuple[str, ...]


def choose_arrays(found: set[str], path: Path) -> Choice:
    """Return the arrays to train and to test on.

    A validation split is tested on where there is no test split, and else not used.

    Raises
    ------
    UserError
        If there are no samples with targets, or two arrays match the same name.

    Examples
    --------
    >>> choose_arrays({"train_images", "train_labels", "test_images", "test_labels"}, Path("set.npz")).test
    ('test_images', 'test_labels')
    """
    roles = _roles(found, path)
    pairs: dict[str, Pair] = {}
    for split in _SPLITS:
        if (split, "x") in roles and (split, "y") in roles:
            pairs[split] = roles[split, "x"], roles[split, "y"]
    train = pairs.get("train") or pairs.get("")
    if train is None:
        raise UserError(f"{path} holds {', '.join(sorted(found)) or 'nothing'}, {EXPECTED}")
    test, notes = pairs.get("test"), []
    if test is None and "validation" in pairs:
        test = pairs["validation"]
        notes.append(f"{path}: there is no test split, so {test[0]} and {test[1]} are tested on")
    unused = sorted(found - {*train, *(test or ())})
    if unused:
        notes.append(f"{path}: {', '.join(unused)} {'is' if len(unused) == 1 else 'are'} not used")
    return Choice(train, test, tuple(notes))


def choose_samples(found: set[str], path: Path) -> str:
    """Return the name of the samples to predict on: x, those of the test split, or of the validation split.

    Raises
    ------
    UserError
        If there are none.
    """
    roles = _roles(found, path)
    for split in ("", "test", "validation"):
        if (split, "x") in roles:
            return roles[split, "x"]
    raise UserError(f"{path} holds {', '.join(sorted(found)) or 'nothing'}, expected an array named x")


def _roles(found: set[str], path: Path) -> dict[tuple[str, str], str]:
    """Return the name of each split's samples and targets: {("train", "x"): "X_train"}."""
    best: dict[tuple[str, str], tuple[int, str]] = {}
    for name in sorted(found):
        parsed = _parse(name)
        if parsed is None:
            continue
        key, preference = parsed
        held = best.get(key)
        if held is not None and held[0] == preference:
            raise UserError(f"{path} holds {held[1]} and {name}, and which of them is meant is not clear: rename one")
        if held is None or preference < held[0]:
            best[key] = preference, name
    return {key: name for key, (_, name) in best.items()}


def _parse(name: str) -> tuple[tuple[str, str], int] | None:
    """Return (split, x or y) and the rank of the name among its alternatives; None if it is neither."""
    letters = re.sub(r"[\W_]", "", name.lower())
    for split, words in _SPLITS.items():
        for word in words:
            for rest in {letters.removeprefix(word), letters.removesuffix(word)} if word in letters else ():
                for role, names in (("x", _SAMPLES), ("y", _TARGETS)):
                    if rest in names and (not word or rest != letters):
                        return (split, role), names.index(rest)
    return None
