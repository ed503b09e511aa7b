"""Datasets and samples of csv files."""

import dataclasses
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..build import build_dataset
from ..dataset import CLASSIFICATION, Dataset
from ..draw import Draws, split_rows, validation_rows
from ..files import file
from ..matching.conform import say_ignored
from .cells import Kind, Role
from .encoded import EncodedTable, Part, Room
from .encoding import Encoding
from .features import feature_roles, settle_all
from .findings import doubts, one_hot_partners
from .fit import encoded, fit_encoding, missing_notes, roles_of
from .options import CsvOptions, parse_csv_source, split_names
from .stored import is_large, stored
from .table import Table, begin_table, open_table, read_rows
from .target import Target, merge_classes, read_one_hot, read_target
from .words import quoted


def csv_dataset(
    place: str, task: str | None, draws: Draws, encoding: Encoding | None = None, kind: str = "csv"
) -> Dataset:
    """Open ``csv:place``, or ``parquet:place``, as a dataset; see ``data.open_dataset``.

    Parameters
    ----------
    draws : Draws
        Samples that are held out to test and to validate on do not choose the encoding.
    encoding : Encoding, optional
        That of an earlier training; by default the training rows decide.
    """
    name, options = parse_csv_source(place, kind)
    path = table_path(name, kind)
    test = [table_path(options.test, kind)] if options.test else []

    def read(room: Room) -> EncodedTable:
        return read_table(path, options, task, encoding, room, draws)

    if is_large(path, *test):
        table, checked = stored([path, *test], options, [task, draws], encoding, read), True
    else:
        table, checked = read(Room()), False
    dataset = build_dataset(
        table.name,
        str(path),
        table.parts[0],
        table.parts[1] if test else None,
        task=table.task,
        feature_names=table.encoding.feature_names,
        target_name=table.target_name,
        class_names=table.class_names,
        notes=table.notes,
        categories=table.encoding.categories,
        checked=checked,
        test_fraction=draws.test_fraction,
        seed=draws.seed,
        draw=draws.draw,
    )
    return dataclasses.replace(dataset, encoding=table.encoding)


def read_table(
    path: Path,
    options: CsvOptions,
    task: str | None,
    encoding: Encoding | None,
    room: Room,
    draws: Draws,
) -> EncodedTable:
    """Read and encode a table and its test file; see ``csv_dataset``."""
    table = _begin(path, options, encoding)
    table.read.make_matrix = room.matrix
    read_rows(table, roles=roles_of(table, encoding))
    target = target_of(table, task)
    notes = [*target.notes, *notes_on(table)]
    if encoding is None:
        settle_all(table)
    else:
        notes += _notes_on_others(table, encoding)
    feature_roles(table)
    if encoding is None:
        encoding, more = fit_encoding(table, _rows_to_train_on(target.y, table, draws))
        notes += more
    x = encoded(table, encoding, room.empty)
    notes += _doubts(table, encoding, x)
    parts = [Part(x, target.y)]
    if options.test:
        second = _open_test(options, encoding, room)
        other = target_of(second, target.task)
        if target.task == CLASSIFICATION:
            target, other = merge_classes(target, other)
        parts = [Part(x, target.y), Part(encoded(second, encoding, room.empty), other.y)]
        notes += [*notes_on(second), *missing_notes(second, encoding)]
    names = ",".join(table.targets), target.class_names, tuple(notes)
    return EncodedTable(table.name, target.task, tuple(parts), encoding, *names)


def _notes_on_others(table: Table, encoding: Encoding) -> tuple[str, ...]:
    """Return a note on columns that are neither encoded nor left out by an option."""
    dropped = [name for value in table.options.drop for name in split_names(value, table.columns)]
    known = {*encoding.columns, *table.targets, *table.index, *dropped}
    return say_ignored([name for name in table.columns if name not in known], str(table.path))


def _rows_to_train_on(y: np.ndarray, table: Table, draws: Draws) -> np.ndarray:
    """Return the rows that are held out neither to test nor to validate on."""
    train = np.arange(len(y))
    if not table.options.test:
        train, _ = split_rows(y, str(table.path), draws.test_fraction, draws.seed, draws.draw)
    if draws.validation or draws.fold:
        held = draws.validation, draws.seed, draws.draw, draws.fold
        train = train[validation_rows(y[train], *held, table.name)[0]]
    return train


def _begin(path: Path, options: CsvOptions, encoding: Encoding | None) -> Table:
    """Return a table with only its header read, that has a target and something to predict it from."""
    table = begin_table(path, options, None if encoding is None else encoding.columns)
    if not table.targets:
        columns = ", ".join(" ".join(name.split()) for name in table.columns)
        kind = options.kind
        raise UserError(
            f"{kind}: say which column is predicted, as in {kind}:{path},target=COLUMN; there are {columns}"
        )
    if not table.features:
        raise UserError(
            f"{path} has no column but the target {quoted(table.targets)}: there is nothing to predict it from"
        )
    return table


def table_path(name: str, kind: str) -> Path:
    """Return the file of a table, or the directory of Parquet files.

    Raises
    ------
    UserError
        If it is not there.
    """
    path = Path(name).expanduser()
    return path if kind == "parquet" and name and path.is_dir() else file(name, kind)


def open_csv(place: str, features: tuple[str, ...] = (), kind: str = "csv") -> Table:
    """Open ``csv:place``, or ``parquet:place``, for its samples; the target may be missing.

    Parameters
    ----------
    features : tuple of str
        The columns to take, in this order, such as those that a model was trained on. By default all but the target
        and those to drop.
    """
    name, options = parse_csv_source(place, kind)
    path = table_path(name, kind)
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


def _doubts(table: Table, encoding: Encoding, x: np.ndarray) -> list[str]:
    """Return notes on doubtful columns of numbers among the samples ``x`` (N, F)."""
    numbers = [(start, rule.name) for start, rule in zip(encoding.starts, encoding.rules) if rule.role == Role.NUMBER]
    names = [name for _, name in numbers]
    only = [x[:, start] for start, _ in numbers]
    notes = [f"{table.path}: {doubt}" for doubt in doubts(only, names)]
    if len(table.targets) == 1 and _is_indicator_column(table, table.targets[0]):
        partners = one_hot_partners(only, names, table.numbers(table.targets)[:, 0])
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


def _open_test(options: CsvOptions, encoding: Encoding, room: Room) -> Table:
    """Open the file of the test set: the same columns, by name."""
    path = table_path(options.test, options.kind)
    second = begin_table(path, dataclasses.replace(options, drop=(), test=""), encoding.columns)
    second.read.make_matrix = room.matrix
    read_rows(second, roles=roles_of(second, encoding))
    feature_roles(second)
    return second
