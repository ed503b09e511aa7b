"""The column to predict: classes, whose exact texts are their names, or numbers."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UserError
from ..dataset import CLASSIFICATION, REGRESSION
from .cells import Kind
from .class_labels import LONGEST_INTEGER, class_labels
from .columns import SHOWN
from .table import Table
from .words import quoted, shortened

_SAMPLE = 1000  # distinct texts looked at
FEW = 20  # distinct integers that are still taken for classes

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


@dataclass(frozen=True)
class Target:
    """Target of a table.

    Attributes
    ----------
    y : (N,) int64 array of classes, or (N,) or (N, K) float64 array of values
        Classes are places in ``class_names``.
    task : str
        "classification" or "regression".
    notes : tuple of str
        The reason for the task, and doubts about the target.
    class_names : tuple of str
        Integers in numeric order, other texts sorted; empty for regression.
    """

    y: np.ndarray
    task: str
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        """(N,) array of the name of each row's class."""
        labels: np.ndarray = np.array(self.class_names)[self.y]
        return labels


def read_target(table: Table, name: str, task: str | None) -> Target:
    """Return the target column ``name``.

    Without ``task``, text and few distinct integers are classes (at most ``FEW``, each twice on average), and other
    numbers are values. A column in which most cells are numbers is refused if others are not.

    Raises
    ------
    UserError
        If cells are missing, or do not fit the task.
    """
    where = f"{table.path}: target {name!r}"
    table.check_whole([name])
    tally = table.column(name).tally
    numbers, others = tally.count(Kind.NUMBER, Kind.INFINITE), tally.count(Kind.TEXT, Kind.BOOLEAN, Kind.MISSING)
    if task == REGRESSION:
        return Target(table.numbers([name])[:, 0], task)
    if not others:
        return _of_numbers(table, name, task, where)
    if task is None:
        _refuse_numbers(table, name, where, numbers)
        kind = "True and False" if tally.is_boolean else "text"
        notes: tuple[str, ...] = (f"{where} holds {kind}: {CLASSIFICATION}",)
    else:
        notes = ()
    return _classes(table, name, notes + _doubts(table, name, where))


def read_one_hot(table: Table, task: str | None) -> Target:
    """Return several target columns: one class if exactly one of them is 1 in each row, otherwise several values.

    Raises
    ------
    UserError
        If cells are missing or are no numbers, or classification is asked for and the columns are not one-hot.
    """
    names = table.targets
    values = table.numbers(names)
    one_hot = bool(((values == 0) | (values == 1)).all()) and bool((values.sum(axis=1) == 1).all())
    if task == CLASSIFICATION and not one_hot:
        row = int(np.argmax((values.sum(axis=1) != 1) | ~((values == 0) | (values == 1)).all(axis=1)))
        raise UserError(
            f"{table.path}: the targets {quoted(names)} are not one-hot labels: {table.place(row)} does not hold "
            "one 1 and otherwise 0"
        )
    if task == REGRESSION or not one_hot:
        notes = () if task else (f"{table.path}: {len(names)} targets: {REGRESSION}",)
        return Target(values, REGRESSION, notes)
    notes = () if task else (f"{table.path}: targets {quoted(names)} are one-hot labels: {CLASSIFICATION}",)
    return Target(values.argmax(axis=1).astype(np.int64), CLASSIFICATION, notes, tuple(names))


def merge_classes(train: Target, test: Target) -> tuple[Target, Target]:
    """Return two targets with the classes of both, in one common numbering."""
    names = tuple(sorted({*train.class_names, *test.class_names}, key=_order([*train.class_names, *test.class_names])))
    places = {name: k for k, name in enumerate(names)}

    def renumbered(target: Target) -> Target:
        own = np.array([places[name] for name in target.class_names], np.int64)
        return Target(own[target.y], target.task, target.notes, names)

    return renumbered(train), renumbered(test)


def _of_numbers(table: Table, name: str, task: str | None, where: str) -> Target:
    values = table.numbers([name])[:, 0]
    whole = values == np.floor(values)
    if task == CLASSIFICATION and not whole.all():
        row = int(np.argmin(whole))
        cell = table.columns[name][row]
        raise UserError(f"{where} has {cell} on {table.place(row)}, but classes are text or integers")
    if task == CLASSIFICATION:
        return _classes(table, name, ())
    texts = table.column(name).texts
    if whole.all() and texts is not None:  # they are kept where they are few
        classes = _classes(table, name, ())
        distinct = len(classes.class_names)
        if distinct <= min(FEW, len(values) / 2):
            note = f"{where} holds {distinct} distinct integers: {CLASSIFICATION} (--task asks for the other)"
            return Target(classes.y, CLASSIFICATION, (note,), classes.class_names)
        note = f"{where} holds {distinct:,} distinct integers: {REGRESSION} (--task asks for the other)"
        return Target(values, REGRESSION, (note,))
    return Target(values, REGRESSION, (f"{where} holds numbers: {REGRESSION} (--task asks for the other)",))


def _refuse_numbers(table: Table, name: str, where: str, numbers: int) -> None:
    """Raise UserError for a column with text whose cells are mostly numbers, perhaps in another notation."""
    tally = table.column(name).tally
    classes = f"--task {CLASSIFICATION} takes every distinct cell for a class"
    many = 4 * numbers >= len(table.lines)
    if numbers and (not tally.is_text or (many and not _few_integers(table, name))):
        raise UserError(f"{where} {table.odd_cells(name)}; {classes}")
    texts = table.texts(name)
    some = texts.cells[:_SAMPLE]
    counts = np.bincount(texts.codes, minlength=len(some))[: len(some)]
    like = [k for k, cell in enumerate(some) if table.hint(cell)]
    if 2 * counts[like].sum() > counts.sum():
        cells = [some[k] for k in like[:SHOWN]]
        place = table.place(int(np.argmax(texts.codes == like[0])))
        raise UserError(f"{where} holds {shortened(cells[0])} on {place}: {table.hint(*cells)}; {classes}")


def _few_integers(table: Table, name: str) -> bool:
    """Return whether the numbers in a column with text can be names of classes."""
    texts = table.texts(name)
    values, kinds = table.options.format.interpret(texts.cells)
    numbers = values[kinds == Kind.NUMBER]
    return bool((numbers == np.floor(numbers)).all()) and len(texts) <= len(table.lines) / 2


def _classes(table: Table, name: str, notes: tuple[str, ...]) -> Target:
    texts = table.texts(name)
    labels = class_labels(texts.cells, table.options.format)
    names = sorted(set(labels), key=_order(labels))
    places = {label: k for k, label in enumerate(names)}
    own = np.array([places[label] for label in labels], np.int64)
    return Target(own[texts.codes], CLASSIFICATION, notes, tuple(names))


def _order(labels: Sequence[str]) -> Callable[[str], Any]:
    """Return the key to sort class names by: numeric if all are integers."""
    if all(_INTEGER.fullmatch(label) and len(label) <= LONGEST_INTEGER for label in labels):
        return lambda label: (int(label), label)
    return lambda label: label


def _doubts(table: Table, name: str, where: str) -> tuple[str, ...]:
    """Return notes on doubtful classes: too many, words for missing values, names that differ in case only."""
    tally = table.column(name).tally
    cells = table.texts(name).cells
    notes = []
    if 2 * len(cells) > len(table.lines) > 2:
        notes.append(f"{where} has {len(cells):,} classes in {len(table.lines):,} rows")
    words = sorted({cell for _, cell in tally.earliest(Kind.MISSING)})
    if words and table.options.na is None:
        notes.append(
            f"{where}: {quoted(words)} {'is a class' if len(words) == 1 else 'are classes'} like others "
            f"(na={words[0]} says that it is missing)"
        )
    folded: dict[str, str] = {}
    for cell in cells:
        other = folded.setdefault(cell.casefold(), cell)
        if other != cell:
            notes.append(f"{where}: the classes {other!r} and {cell!r} differ in case only")
            break
    return tuple(notes)
