"""Samples for a trained model: all rows of a file, or one split of a set; to score (with targets) or to predict on.

Nothing is drawn here: a file that has no split of its own is taken whole. Columns, classes and the target are the
model's (``Signature``), found by name.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from .build import Arrays
from .checks import check_counts, check_features, check_targets
from .conform import check_shapes, check_target, conform, find_columns, number_classes
from .dataset import CLASSIFICATION, Dataset, Split
from .files import file, nearest
from .labels import label_codes
from .npz import read_npz
from .openml import read_openml
from .signature import Signature
from .sources import open_csv, open_dataset, open_features, parse_source
from .table import Table

ALL, TRAIN, TEST = "all", "train", "test"


@dataclass(frozen=True, eq=False)
class Rows:
    """Samples for a trained model.

    Attributes
    ----------
    name : str
        Of the source.
    parts : tuple of Split
        The samples, in one or two pieces; (N, 0) targets where none were asked for.
    split : str
        "all", or the split of the source that they are: "test" or "train".
    total : int
        Samples of the source, with those of its other split.
    notes : tuple of str
        Sentences for the user.
    """

    name: str
    parts: tuple[Split, ...]
    split: str
    total: int
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def noting(self, *notes: str) -> "Rows":
        """Return the same with more notes."""
        return dataclasses.replace(self, notes=(*self.notes, *notes))

    @property
    def described(self) -> str:
        """What is scored of how much: ``360 of 1,797 samples (test split)``."""
        noun = "sample" if self.total == 1 else "samples"
        part = "whole file" if self.split == ALL else f"{self.split} split"
        return f"{len(self):,} of {self.total:,} {noun} ({part})"


def split_of(dataset: Dataset, split: str) -> Rows:
    """Return one split of a dataset, or both as "all"."""
    parts = {TEST: (dataset.test,), TRAIN: (dataset.train,), ALL: (dataset.train, dataset.test)}[split]
    return Rows(dataset.name, parts, split, len(dataset.train) + len(dataset.test), dataset.notes)


def open_rows(source: str, signature: Signature, split: str = "") -> Rows:
    """Open samples with targets, to score.

    Parameters
    ----------
    source : str
        As in ``open_dataset``; of a csv file the target may be left out.
    signature : Signature
    split : str
        By default the test split of a source that has one, and all rows of any other.

    Raises
    ------
    UserError
        If the source cannot be read, lacks a column, the target or that split, or holds a class that the model does not
        know.
    """
    kind, place = parse_source(source)
    match kind:
        case "csv":
            _check_whole(split, source)
            return _csv_rows(place, signature)
        case "npz":
            path = file(place, kind)
            train, test, notes = read_npz(path)
            if test is not None:
                return _split_of_source(source, signature, split)
            _check_whole(split, source)
            return _array_rows(path.stem, str(path), train, signature).noting(*notes)
        case "openml":
            _check_whole(split, source)
            whole, names, target = read_openml(place)
            check_target(target, signature, source)
            return _array_rows(place, source, whole, signature, names)
        case _:
            return _split_of_source(source, signature, split)


def open_samples(source: str, signature: Signature) -> Rows:
    """Open samples without targets, to predict on: all rows, or of a source with a test split that.

    Raises
    ------
    UserError
        As ``open_rows``; no target is needed.
    """
    kind, place = parse_source(source)
    if kind == "csv":
        table, x, _, notes = _csv_samples(place, signature)
        return _without_targets(table.path.stem, x, signature, place, notes)
    if kind == "npz":
        features = open_features(source)
        return _without_targets(features.name, features.x, signature, source)
    if kind == "openml":
        (x, _), names, _ = read_openml(place)
        places, notes = find_columns(names, signature, source)
        x = check_features(x if places is None else x[:, places], f"{source}: the samples")
        return _without_targets(place, x, signature, source, notes)
    dataset = open_dataset(source)
    rows = split_of(dataset, TEST)
    check_shapes(dataset.test.x, None, signature, source)
    return Rows(rows.name, (_unlabeled(dataset.test.x),), TEST, rows.total, rows.notes)


def _split_of_source(source: str, signature: Signature, split: str) -> Rows:
    dataset = open_dataset(source, task=signature.task)
    return split_of(conform(dataset, signature, source), split or TEST)


def _check_whole(split: str, source: str) -> None:
    if split not in ("", ALL):
        raise UserError(f"{source} has no {split} split of its own: leave out --split {split} to score all of its rows")


def _csv_rows(place: str, signature: Signature) -> Rows:
    table, x, given, notes = _csv_samples(place, signature)
    check_target(given, signature, str(table.path))
    target = signature.target_name or given
    if not target:
        raise UserError(f"csv: say which column the model predicts, as in csv:{place},target=COLUMN")
    if target not in table.columns:
        raise UserError(
            f"{table.path} has no column {target!r}, which the model predicts{nearest(target, table.columns)}: without "
            "it, rows can be predicted but not scored"
        )
    where = str(table.path)
    if signature.task == CLASSIFICATION:
        table.check_whole([target])
        names, codes = np.unique(table.columns[target], return_inverse=True)
        y = number_classes(names.tolist(), codes, signature, where, lambda row: f"line {table.lines[row]}")
    else:
        y = check_targets(table.numbers([target]), f"{where}: the targets", (target,))
    check_shapes(x, y, signature, where)
    return Rows(table.path.stem, (Split(x, y),), ALL, len(x), notes)


def _csv_samples(place: str, signature: Signature) -> tuple[Table, np.ndarray, str, tuple[str, ...]]:
    """Return the table, its samples (N, F), the name of the target, and notes."""
    table, given = open_csv(place)
    where, target = str(table.path), signature.target_name or given
    candidates = tuple(name for name in table.columns if name != target or name in signature.feature_names)
    places, notes = find_columns(candidates, signature, where)
    names = candidates if places is None else tuple(candidates[k] for k in places)
    x = check_features(table.numbers(names), f"{where}: the samples", names)
    check_shapes(x, None, signature, where)
    return table, x, given, notes


def _array_rows(name: str, where: str, arrays: Arrays, signature: Signature, columns: tuple[str, ...] = ()) -> Rows:
    x, y = arrays
    check_counts(x, y, where)
    places, notes = find_columns(columns, signature, where)
    x = check_features(x if places is None else x[:, places], f"{where}: the samples", signature.feature_names)
    if signature.task == CLASSIFICATION:
        y = number_classes(*label_codes(y, where), signature, where)
    else:
        y = check_targets(y, f"{where}: the targets")
    check_shapes(x, y, signature, where)
    return Rows(name, (Split(x, y),), ALL, len(x), notes)


def _without_targets(name: str, x: np.ndarray, signature: Signature, where: str, notes: tuple[str, ...] = ()) -> Rows:
    check_shapes(x, None, signature, where)
    return Rows(name, (_unlabeled(x),), ALL, len(x), notes)


def _unlabeled(x: np.ndarray) -> Split:
    return Split(x, np.empty((len(x), 0), np.float32))
