"""Samples for a trained model: all rows of a file, or one split of a set; for scores (with targets) or predictions.

Nothing is drawn here: a file that has no split of its own is taken whole. Columns, classes and the target are the
model's (``Signature``), found by name.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UserError
from .. import text
from ..build import Arrays
from ..checks import check_counts, check_features, check_targets
from ..dataset import CLASSIFICATION, SEGMENTATION, Dataset, Split
from ..formats.arrays import open_arrays
from ..formats.openml import read_openml
from ..labels import label_codes
from ..pixels import pixel_codes
from ..source_options import ARRAYS
from ..sources import MEDIA, default_options, inherit_options, open_dataset, open_features, parse_source
from ..tables import TABLES, parse_csv_source, table_path
from ..tables.rows import read_samples, read_scored
from .conform import (
    check_shapes,
    check_target,
    check_tokens,
    conform,
    find_columns,
    number_classes,
    number_pixels,
)
from .signature import Signature

if TYPE_CHECKING:
    from ..media.parts import MediaParts

ALL, TRAIN, VALIDATION, TEST = "all", "train", "validation", "test"


@dataclass(frozen=True, eq=False)
class Rows:
    """Samples for a trained model.

    Attributes
    ----------
    name : str
        Name of the source.
    parts : tuple of Split
        The samples, in up to three pieces; (N, 0) targets where none were asked for.
    split : str
        "all", or the split of the source that they are: "test", "validation" or "train".
    total : int
        Samples of the source, with those of its other splits.
    notes : tuple of str
        Sentences for the user.
    files : tuple of str
        The file of each sample, where each is one.
    """

    name: str
    parts: tuple[Split, ...]
    split: str
    total: int
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def noting(self, *notes: str) -> "Rows":
        """Return the same with more notes."""
        return dataclasses.replace(self, notes=(*self.notes, *notes))

    @property
    def described(self) -> str:
        """Number of samples scored and in all: ``360 of 1,797 samples (test split)``."""
        noun = "sample" if self.total == 1 else "samples"
        part = "whole file" if self.split == ALL else f"{self.split} split"
        return f"{len(self):,} of {self.total:,} {noun} ({part})"


def as_trained(source: str, signature: Signature) -> str:
    """Return a source completed by the options that a model was trained with; images get the shape of its samples."""
    source = inherit_options(source, signature.source)
    if parse_source(source)[0] != "images" or len(signature.input_shape) != 3:
        return source
    height, width, channels = signature.input_shape
    return default_options(source, {"size": f"{height}x{width}", "channels": str(channels)})


def _parts(source: str, signature: Signature) -> "MediaParts":
    """Return the files of a source, in the form that a model was trained with."""
    from ..media.open import open_parts

    return open_parts(*parse_source(as_trained(source, signature)))


def split_of(dataset: Dataset, split: str) -> Rows:
    """Return one split of a dataset, or all of them as "all"; raises UserError if there is no validation split."""
    splits = dataset.splits
    if split not in (ALL, *splits):
        raise UserError(f"{dataset.name} has no {split} split: the run was trained without --validation")
    parts = tuple(splits.values()) if split == ALL else (splits[split],)
    return Rows(dataset.name, parts, split, sum(map(len, splits.values())), dataset.notes)


def open_rows(source: str, signature: Signature, split: str = "") -> Rows:
    """Open samples with targets, to score.

    Parameters
    ----------
    source : str
        As in ``open_dataset``; options of a csv file that are left out are those that the model was trained with.
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
    if kind in text.KEYS:
        return _text_rows(inherit_options(source, signature.source), signature, split)
    if kind in MEDIA:
        from ..media.samples import whole_media

        return _rows_of(whole_media(_parts(source, signature), signature.task), signature, source, split)
    if kind == "ratings":
        from ..ratings.trained import scored_rows

        place = parse_source(inherit_options(source, signature.source))[1]
        return _rows_of(scored_rows(place, signature, source), signature, source, split)
    table = parse_source(inherit_options(source, signature.source))
    if text.has_text(*table):
        check_is_text(signature, source)
        dataset = dataclasses.replace(text.whole_text_table(*table, CLASSIFICATION), target_name="")  # any column
        return _rows_of(dataset, signature, source, split)
    match kind:
        case "csv" | "parquet":
            return _csv_rows(inherit_options(source, signature.source), signature, split)
        case "npz" | "npy" | "hdf5":
            arrays = open_arrays(*parse_source(inherit_options(source, signature.source)))
            train, test, notes = arrays.splits()
            if test is not None:
                return _split_of_source(source, signature, split)
            _check_whole(split, source)
            return _array_rows(arrays.name, str(arrays.path), train, signature).noting(*notes)
        case "openml":
            _check_whole(split, source)
            whole, names, target = read_openml(place)
            check_target(target, signature, source)
            return _array_rows(place, source, whole, signature, names)
        case _:
            return _split_of_source(source, signature, split)


def open_samples(source: str, signature: Signature) -> Rows:
    """Open samples without targets, to predict on: all rows, or the test split of a source that has one.

    Options of a csv file that are left out are those that the model was trained with.

    Raises
    ------
    UserError
        As ``open_rows``; no target is needed.
    """
    kind, place = parse_source(source)
    if kind in text.KEYS:  # the targets are the text itself
        return _text_rows(inherit_options(source, signature.source), signature, ALL)
    if kind in MEDIA:
        from ..media.samples import media_samples

        found = media_samples(_parts(source, signature))
        rows = _without_targets(found.name, found.x, signature, source, found.notes)
        split = TEST if found.is_test else ALL
        return dataclasses.replace(rows, split=split, total=found.total, files=tuple(found.files))
    whole = parse_source(inherit_options(source, signature.source))
    if text.has_text(*whole):
        check_is_text(signature, source)
        dataset = text.whole_text_table(*whole, CLASSIFICATION, with_targets=False)
        check_tokens(dataset, signature, source)
        return _without_targets(dataset.name, dataset.train.x, signature, source, dataset.notes)
    if kind in TABLES:
        path, options = parse_csv_source(parse_source(inherit_options(source, signature.source))[1], kind)
        where = table_path(options.test or path, kind)
        table, x, notes = read_samples(where, options, signature, with_targets=False)
        return _without_targets(table.name, x, signature, place, notes)
    if kind in ARRAYS:
        features = open_features(inherit_options(source, signature.source))
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


def _text_rows(source: str, signature: Signature, split: str) -> Rows:
    kind, place = parse_source(source)
    check_is_text(signature, source)
    return _rows_of(text.whole_text(kind, place, signature.task), signature, source, split)


def check_is_text(signature: Signature, source: str) -> None:
    """Raise a UserError if the model takes no tokens."""
    if not signature.vocabulary:
        raise UserError(f"{source} is text, but the model was trained on numbers")


def _rows_of(dataset: Dataset, signature: Signature, source: str, split: str) -> Rows:
    """Return the test split of a text that has one, and the whole text otherwise."""
    dataset = conform(dataset, signature, source)
    if len(dataset.test):
        return split_of(dataset, split or TEST)
    _check_whole(split, source)
    return Rows(dataset.name, (dataset.train,), ALL, len(dataset.train), dataset.notes)


def _check_whole(split: str, source: str) -> None:
    if split not in ("", ALL):
        raise UserError(f"{source} has no {split} split of its own: leave out --split {split} to score all of its rows")


def _csv_rows(source: str, signature: Signature, split: str) -> Rows:
    kind, place = parse_source(source)
    path, options = parse_csv_source(place, kind)
    if not options.test:
        _check_whole(split, source)
    paths = {TRAIN: path, TEST: options.test} if options.test else {ALL: path}
    if split not in ("", ALL, *paths):
        raise UserError(f"{source} has no {split} split, only {TRAIN} and {TEST}")
    parts: dict[str, Split] = {}
    notes: list[str] = []
    name = ""
    for part, where in paths.items():
        found, x, y, more = read_scored(table_path(where, kind), options, signature)
        check_shapes(x, y, signature, where)
        parts[part], name = Split(x, y), name or found
        notes += more
    split = split or list(paths)[-1]
    chosen = tuple(parts.values()) if split == ALL else (parts[split],)
    return Rows(name, chosen, split, sum(map(len, parts.values())), tuple(notes))


def _array_rows(name: str, where: str, arrays: Arrays, signature: Signature, columns: tuple[str, ...] = ()) -> Rows:
    x, y = arrays
    check_counts(x, y, where)
    places, notes = find_columns(columns, signature, where)
    x = check_features(x if places is None else x[:, places], f"{where}: the samples", signature.feature_names)
    if signature.task == CLASSIFICATION:
        y = number_classes(*label_codes(y, where), signature, where)
    elif signature.task == SEGMENTATION:
        y = number_pixels(*pixel_codes(x, y, where, signature.class_names), signature, where)
    else:
        y = check_targets(y, f"{where}: the targets")
    check_shapes(x, y, signature, where)
    return Rows(name, (Split(x, y),), ALL, len(x), notes)


def _without_targets(name: str, x: np.ndarray, signature: Signature, where: str, notes: tuple[str, ...] = ()) -> Rows:
    check_shapes(x, None, signature, where)
    return Rows(name, (_unlabeled(x),), ALL, len(x), notes)


def _unlabeled(x: np.ndarray) -> Split:
    return Split(x, np.empty((len(x), 0), np.float32))
