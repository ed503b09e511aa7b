"""Rows of csv files for a trained model: its columns, target and classes, found by name."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...suggest import did_you_mean
from ..categories import only_codes
from ..checks import check_features, check_targets
from ..dataset import CLASSIFICATION
from ..matching.conform import check_shapes, check_target, find_columns, number_classes, say_columns
from ..matching.signature import Signature
from .class_labels import class_labels
from .encoded import EncodedTable, Part, Room
from .features import feature_roles
from .fit import encoded, missing_notes, roles_of
from .options import CsvOptions, split_names
from .stored import is_large, stored
from .table import Table, begin_table, read_rows
from .target import read_one_hot


def read_samples(
    path: Path, options: CsvOptions, signature: Signature, *, with_targets: bool, room: Room | None = None
) -> tuple[Table, np.ndarray, tuple[str, ...]]:
    """Return the table, its samples (N, F) float64 in the order of the model's columns, and notes.

    Parameters
    ----------
    options : CsvOptions
        Columns to drop need not be there; ``options.test`` is not read.
    with_targets : bool
        Whether the target is read, too (see ``targets_of``).
    room : Room, optional
        The place of the samples, by default memory.

    Raises
    ------
    UserError
        If a column is lacking or left out, holds no numbers, or the target is another one than the model's.
    """
    where = str(path)
    header = begin_table(path, dataclasses.replace(options, target="", drop=()), None)
    wanted, columns = columns_of(signature), tuple(header.columns)
    targets = _target_names(options, signature, columns, where)
    if with_targets:
        _check_targets(targets, columns, where)
    dropped = {name for value in options.drop for name in split_names(value, columns)}
    if dropped & set(wanted):
        lacking = [name for name in wanted if name in dropped]
        raise UserError(f"{where}: drop= leaves out {say_columns(lacking)}, which the model was trained on")
    left_out = (dropped | set(targets) | set(header.index)) - set(wanted)
    candidates = tuple(name for name in columns if name not in left_out)
    places, notes = find_columns(candidates, signature, where, wanted)
    features = candidates if places is None else tuple(candidates[k] for k in places)
    options = dataclasses.replace(options, target=",".join(targets) if with_targets else "", drop=())
    table = begin_table(path, options, features)
    encoding, room = signature.encoding, room or Room()
    table.read.make_matrix = room.matrix
    read_rows(table, roles=roles_of(table, encoding) if encoding is not None else None)
    if encoding is None:
        x = table.numbers(features)
    else:
        feature_roles(table)
        x = encoded(table, encoding, room.empty)
        notes += tuple(missing_notes(table, encoding))
    if not only_codes(signature.categories):
        x = check_features(x, f"{where}: the samples", signature.feature_names)
    check_shapes(x, None, signature, where)
    return table, x, notes


def read_scored(
    path: Path, options: CsvOptions, signature: Signature
) -> tuple[str, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return name, samples, targets and notes of a table, as ``read_samples`` and ``targets_of``; mapped if large."""

    def read(room: Room) -> EncodedTable:
        table, x, notes = read_samples(path, options, signature, with_targets=True, room=room)
        y = targets_of(table, signature)
        assert signature.encoding is not None
        names = signature.target_name, signature.class_names, notes
        return EncodedTable(table.name, signature.task, (Part(x, y),), signature.encoding, *names)

    if signature.encoding is None or not is_large(path):
        table, x, notes = read_samples(path, options, signature, with_targets=True)
        return table.name, x, targets_of(table, signature), notes
    facts = ["scored", signature.task, signature.class_names, signature.target_name, signature.encoding.digest()]
    found = stored([path], options, facts, None, read)
    return found.name, *found.parts[0], found.notes


def columns_of(signature: Signature) -> tuple[str, ...]:
    """Return the columns of a table that a model takes."""
    return signature.feature_names if signature.encoding is None else signature.encoding.columns


def targets_of(table: Table, signature: Signature) -> np.ndarray:
    """Return the targets of a table: the model's class numbers (N,) int64, or values (N, K) float64.

    Raises
    ------
    UserError
        If cells are missing, are no numbers, or are of a class that the model does not know.
    """
    where = str(table.path)
    if signature.task != CLASSIFICATION:
        return check_targets(table.numbers(table.targets), f"{where}: the targets", table.targets)

    if len(table.targets) > 1:
        target = read_one_hot(table, CLASSIFICATION)
        return number_classes(target.class_names, target.y, signature, where, table.place)
    table.check_whole(table.targets, as_text=True)  # the model knows whether NA is a class
    texts = table.texts(table.targets[0])
    return number_classes(_labels(texts.cells, table, signature), texts.codes, signature, where, table.place)


def _labels(cells: Iterable[str], table: Table, signature: Signature) -> list[str]:
    """Return class names of cells: +3 and 3.0 become 3 only if 3 is a class of the model and they are not."""
    known = set(signature.class_names)
    labels = []
    for cell in cells:
        (label,) = class_labels([cell], table.options.format)
        labels.append(label if cell not in known and label in known else cell)
    return labels


def _target_names(options: CsvOptions, signature: Signature, columns: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return the columns that the model predicts, present or not."""
    given = ",".join(dict.fromkeys(split_names(options.target, [*columns, signature.target_name])))
    check_target(given, signature, where)
    name = signature.target_name or given
    targets = tuple(split_names(name, columns))
    return targets if set(targets) & set(columns) else (name,) * bool(name)


def _check_targets(targets: tuple[str, ...], columns: tuple[str, ...], where: str) -> None:
    if not targets:
        raise UserError(f"{where}: say which column the model predicts, as in csv:{where},target=COLUMN")
    for name in targets:
        if name not in columns:
            raise UserError(
                f"{where} has no column {name!r}, which the model predicts{did_you_mean(name, columns)}: without it, "
                "rows can be predicted but not scored"
            )
