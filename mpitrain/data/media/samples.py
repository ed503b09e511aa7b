"""Datasets of files, such as ``images:DIR`` and ``audio:DIR``.

Shapes: N files; H, W, C the dims of a sample; K values to predict.
"""

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UserError
from ..checks import check_targets
from ..dataset import CLASSIFICATION, REGRESSION, Dataset, Split
from ..draw import Draw, draw_test_split, note_rare_classes
from ..labels import class_order
from ..lazy import select
from ..tables.target import Target, merge_classes
from .labels import LabelTable
from .parts import MediaParts, Part
from .store import MediaStore

SHOWN = 3  # names in a message


def media_dataset(parts: MediaParts, task: str | None, test_fraction: float, seed: int, draw: Draw) -> Dataset:
    """Return the files of a source as a dataset; see ``data.open_dataset``."""
    dataset = whole_media(parts, task)
    where, names = parts.where, dataset.class_names
    if len(names) == 1:
        raise UserError(
            f"{where}: all {parts.medium.nouns} are of the class {names[0]!r}, so there is nothing to learn"
        )
    if not len(dataset.test):
        train, test = draw_test_split(dataset.train, where, test_fraction, seed, draw)
        dataset = dataclasses.replace(dataset, train=train, test=test)
    if dataset.task != CLASSIFICATION:
        return dataset
    for part, split in dataset.splits.items():
        unseen = np.setdiff1d(split.y, dataset.train.y)
        if unseen.size:
            raise UserError(
                f"{where}: the class {names[unseen[0]]!r} is in the {part} split, but not in the training one"
            )
    notes = note_rare_classes(dataset.train.y, dataset.test.y, names, dataset.name)
    return dataclasses.replace(dataset, notes=dataset.notes + notes)


def whole_media(parts: MediaParts, task: str | None) -> Dataset:
    """Return a dataset of which nothing is held out: without test files of its own, its test split is empty."""
    if task not in (None, CLASSIFICATION, REGRESSION):
        raise UserError(f"{parts.where} has a class or values for each file: the task {task} is for others")
    targets = _targets(parts, task)
    splits, notes = dict[str, Split](), list(parts.notes)
    for part, store in parts.stores().items():
        found, y = _decoded(store, parts), targets[part].y
        rows = found.rows if y.dtype.kind == "f" else found.rows[y[found.rows] >= 0]  # -1: in no folder of a class
        splits[part] = Split(_rows_of(found.x, rows), y[rows])
        notes += found.notes
    train, target = splits["train"], targets["train"]
    is_classes = target.task == CLASSIFICATION
    return Dataset(
        parts.name,
        target.task,
        train,
        splits.get("test", Split(train.x[:0], train.y[:0])),
        len(target.class_names) if is_classes else train.y.shape[1],
        target.class_names,
        target_name=_target_name(parts.splits["train"]),
        notes=(*target.notes, *notes),
        validation=splits.get("validation"),
    )


@dataclass(frozen=True)
class MediaSamples:
    """Files to predict on.

    Attributes
    ----------
    name : str
    x : (N, H, W, C) array, or MappedRows
    files : list of str
        Their paths, relative to the directory.
    is_test : bool
        Whether they are the test split of the source; otherwise all of it.
    total : int
        Files of the source, with those of its other splits.
    notes : tuple of str
    """

    name: str
    x: Any
    files: list[str]
    is_test: bool
    total: int
    notes: tuple[str, ...]


def media_samples(parts: MediaParts) -> MediaSamples:
    """Return files without their classes, which need not be known: the test split of a source that has one, or all."""
    part = "test" if "test" in parts.splits else "train"
    found = _decoded(parts.stores()[part], parts)
    whole = parts.splits[part]
    root = whole.root if not isinstance(whole, LabelTable) else parts.root
    files = [os.path.relpath(whole.files[row], root) for row in found.rows]
    total = sum(len(each.files) for each in parts.splits.values())
    return MediaSamples(parts.name, _rows_of(found.x, found.rows), files, part == "test", total, tuple(found.notes))


@dataclass(frozen=True)
class _Decoded:
    """The samples of a split, the numbers of those that could be decoded, and notes on the others."""

    x: np.ndarray
    rows: np.ndarray
    notes: list[str]


def _decoded(store: MediaStore, parts: MediaParts) -> _Decoded:
    x, findings = store.open()
    rows = np.setdiff1d(np.arange(len(x)), list(findings.bad)) if findings.bad else np.arange(len(x))
    notes = list(store.form.notes(findings.ranges, parts.where)) if findings.kinds else []
    if not findings.bad:
        return _Decoded(x, rows, notes)
    told = describe_bad(store, findings.bad)
    if not parts.options.skips_bad:
        raise UserError(f"{parts.where}: {told}: mend or remove them, or leave them out with bad=skip")
    if not len(rows):
        raise UserError(f"{parts.where}: {told}: there are no others")
    return _Decoded(x, rows, [*notes, f"{parts.where}: {told}, and are left out"])


def describe_bad(store: MediaStore, bad: dict[int, str]) -> str:
    """Return a sentence on files that cannot be decoded, with the first of them."""
    shown = ", ".join(f"{store.files[number]} ({bad[number]})" for number in sorted(bad)[:SHOWN])
    more = f" and {len(bad) - SHOWN:,} more" if len(bad) > SHOWN else ""
    total = len(store.files)
    return f"{len(bad):,} of {total:,} file{'s' * (total > 1)} cannot be decoded, {shown}{more}"


def _rows_of(x: np.ndarray, rows: np.ndarray) -> Any:
    return x if len(rows) == len(x) else select(x, rows)


def _targets(parts: MediaParts, task: str | None) -> dict[str, Target]:
    """Return the targets of each split, in one numbering of the classes."""
    tables = {part: found for part, found in parts.splits.items() if isinstance(found, LabelTable)}
    if not tables:
        return _of_folders(parts, task)
    first = _floats(tables["train"].read(task), tables["train"])
    if "test" not in tables:
        return {"train": first}
    second = _floats(tables["test"].read(first.task), tables["test"])
    if first.task == CLASSIFICATION:
        first, second = merge_classes(first, second)
    elif first.y.shape[1] != second.y.shape[1]:
        raise UserError(f"{parts.where}: {first.y.shape[1]} targets to train on, but {second.y.shape[1]} to test on")
    return {"train": first, "test": second}


def _floats(target: Target, table: LabelTable) -> Target:
    if target.task == CLASSIFICATION:
        return target
    return dataclasses.replace(target, y=check_targets(target.y, f"{table.path}: the targets"))


def _of_folders(parts: MediaParts, task: str | None) -> dict[str, Target]:
    nouns = parts.medium.nouns
    if task not in (None, CLASSIFICATION):
        raise UserError(f"{parts.where}: folders of {nouns} are classes: {task} needs their targets in labels=FILE.csv")
    classes = {part: found.classes for part, found in parts.splits.items() if not isinstance(found, LabelTable)}
    names = class_order({name for part in classes.values() for name in part if name})
    if not names:
        raise UserError(
            f"{parts.where} holds {nouns}, but no folders that name their classes: labels=FILE.csv tells them, and "
            "predict needs none"
        )
    number = {name: k for k, name in enumerate(names)} | {"": -1}
    return {
        part: Target(np.array([number[name] for name in found], np.int64), CLASSIFICATION, (), names)
        for part, found in classes.items()
    }


def _target_name(part: Part) -> str:
    return part.target if isinstance(part, LabelTable) else ""
