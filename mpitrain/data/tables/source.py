"""Datasets and samples of csv files."""

import dataclasses

import numpy as np

from ...errors import UserError
from ..build import build_dataset
from ..dataset import CLASSIFICATION, Dataset
from ..draw import Draw
from ..files import file
from .cells import Kind
from .findings import doubts, one_hot_partners
from .options import CsvOptions, parse_csv_source
from .table import Table, begin_table, open_table, read_rows
from .target import Target, merge_classes, read_one_hot, read_target
from .words import quoted


def csv_dataset(place: str, task: str | None, test_fraction: float, seed: int, draw: Draw) -> Dataset:
    """Open ``csv:place`` as a dataset; see ``data.open_dataset``."""
    name, options = parse_csv_source(place)
    path = file(name, "csv")
    table = begin_table(path, options, None)
    if not table.targets:
        columns = ", ".join(" ".join(name.split()) for name in table.columns)
        raise UserError(f"csv: say which column is predicted, as in csv:{place},target=COLUMN; there are {columns}")
    if not table.features:
        raise UserError(
            f"{path} has no column but the target {quoted(table.targets)}: there is nothing to predict it from"
        )
    read_rows(table)
    target = target_of(table, task)
    x = table.numbers(table.features)
    notes = [*target.notes, *notes_on(table), *_notes_on_numbers(table, x, target)]
    test = None
    if options.test:
        second = _open_test(options, table)
        test_target = target_of(second, target.task)
        if target.task == CLASSIFICATION:
            target, test_target = merge_classes(target, test_target)
        test = (second.numbers(second.features), test_target.y)
        notes += notes_on(second)
    return build_dataset(
        table.name,
        str(path),
        (x, target.y),
        test,
        task=target.task,
        test_fraction=test_fraction,
        seed=seed,
        draw=draw,
        feature_names=table.features,
        target_name=",".join(table.targets),
        class_names=target.class_names,
        notes=tuple(notes),
    )


def open_csv(place: str, features: tuple[str, ...] = ()) -> Table:
    """Open ``csv:place`` for its samples; the target may be missing.

    Parameters
    ----------
    features : tuple of str
        The columns to take, in this order, such as those that a model was trained on. By default all but the target
        and those to drop.
    """
    name, options = parse_csv_source(place)
    path = file(name, "csv")
    if features:
        options = dataclasses.replace(options, target="", drop=())
    return open_table(path, options, features=features or None)


def target_of(table: Table, task: str | None) -> Target:
    """Return the target of a table that has one."""
    return read_target(table, table.targets[0], task) if len(table.targets) == 1 else read_one_hot(table, task)


def notes_on(table: Table) -> list[str]:
    """Return notes on columns and rows that are left out."""
    notes = []
    if table.index:
        what = quoted(table.index) if all(table.index) else "1, which has no name"
        notes.append(f"{table.path}: column {what}, is taken for the index of a data frame and left out")
    blank = table.read.num_blank
    if blank:
        notes.append(
            f"{table.path}: {blank:,} row{'s' * (blank > 1)} of empty cells {'are' if blank > 1 else 'is'} left out"
        )
    return notes


def _notes_on_numbers(table: Table, x: np.ndarray, target: Target) -> list[str]:
    notes = [f"{table.path}: {doubt}" for doubt in doubts(x, table.features)]
    if len(table.targets) == 1 and _is_indicator_column(table, table.targets[0]):
        partners = one_hot_partners(x, table.features, table.numbers(table.targets)[:, 0])
        if partners:
            together = ",".join([*table.targets, *partners][:3]) + (",..." if len(partners) > 2 else "")
            notes.append(
                f"{table.path}: {quoted(partners)} and the target are one-hot labels, and tell the target: "
                f"target={together} predicts the class"
            )
    return notes


def _is_indicator_column(table: Table, name: str) -> bool:
    tally = table.column(name).tally
    return not tally.count(Kind.MISSING, Kind.TEXT, Kind.INFINITE) and (
        tally.is_boolean or not tally.count(Kind.BOOLEAN)
    )


def _open_test(options: CsvOptions, table: Table) -> Table:
    """Open the file of the test set: the same columns, by name."""
    return open_table(
        file(options.test, "csv"), dataclasses.replace(options, drop=(), test=""), features=table.features
    )
