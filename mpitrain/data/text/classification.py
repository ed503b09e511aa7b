"""Datasets of texts with classes: ``csv:FILE,text=COLUMN,target=COLUMN`` and ``jsonl:FILE,text=KEY,target=KEY``."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..dataset import CLASSIFICATION, Dataset, Split
from ..draw import Draw, draw_test_split, note_rare_classes
from ..labels import class_order
from ..tokenizer import Tokenizer
from .options import TableOptions, parse_table_source
from .pieces import find_files
from .rows import TokenRows
from .stream import TokenStream
from .table import TableUnit, is_quick, table_units
from .tokenizer import open_tokenizer

MANY = 20  # classes from which on they may be amounts


def text_table_dataset(kind: str, place: str, task: str | None, test_fraction: float, seed: int, draw: Draw) -> Dataset:
    """Open ``csv:place`` or ``jsonl:place`` with a text and a class in each row; see ``data.open_dataset``."""
    dataset = whole_text_table(kind, place, task)
    where, names = f"{kind}:{place}", dataset.class_names
    if len(names) < 2:
        raise UserError(f"{where}: all texts are of the class {names[0]!r}, so there is nothing to learn")
    if not len(dataset.test):
        train, test = draw_test_split(dataset.train, where, test_fraction, seed, draw)
        dataset = dataclasses.replace(dataset, train=train, test=test)
    unseen = np.setdiff1d(dataset.test.y, dataset.train.y)
    if unseen.size:
        raise UserError(f"{where}: the class {names[unseen[0]]!r} is in the test split, but not in the training one")
    notes = note_rare_classes(dataset.train.y, dataset.test.y, names, dataset.name)
    return dataclasses.replace(dataset, notes=dataset.notes + notes)


def whole_text_table(kind: str, place: str, task: str | None, *, with_targets: bool = True) -> Dataset:
    """Return a dataset of which nothing is held out: without a test file, its test split is empty.

    Without targets, all are of one class.
    """
    path, options = parse_table_source(kind, place)
    if task not in (None, CLASSIFICATION):
        raise UserError(f"{kind}: texts are for {CLASSIFICATION}, and not for {task}")
    if with_targets and not options.target:
        raise UserError(f"{kind}: say which class is predicted, as in {kind}:{place},target=NAME")
    if not with_targets:
        options = dataclasses.replace(options, target="")
    tokenizer = open_tokenizer(options.tokenizer)
    parts = [_read(kind, each, options, tokenizer) for each in (path, options.test) if each]
    names = class_order(label for found in parts for label in found.labels)
    if with_targets:
        _check_classes(names, len(parts[0].sizes), f"{kind}:{path}", task)
    splits = [_split(found, names, options, tokenizer) for found in parts]
    empty = Split(splits[0].x.select(np.arange(0)), np.empty(0, np.int64))
    return Dataset(
        Path(path).name.split(".")[0] or kind,
        CLASSIFICATION,
        splits[0],
        splits[1] if len(splits) > 1 else empty,
        len(names),
        names,
        target_name=options.target,
        notes=tuple(_notes(path, splits[0], options)),
        vocabulary=tokenizer.vocabulary,
        end_of_text=None,
        tokenizer=tokenizer,
    )


def units_of_table(kind: str, place: str) -> list[TableUnit]:
    """Return the work to do before ``csv:place`` or ``jsonl:place`` is opened, which ranks may share."""
    path, options = parse_table_source(kind, place)
    tokenizer = open_tokenizer(options.tokenizer)
    found = []
    for each in (path, options.test):
        files = find_files(each, kind) if each else []
        if files and not is_quick(files, tokenizer):
            found += table_units(kind, files, options, tokenizer)
    return found


@dataclass(frozen=True)
class _Texts:
    """The texts of a split: their tokens, how many each has, and the places of their classes in ``labels``."""

    stream: TokenStream
    sizes: np.ndarray
    codes: np.ndarray
    labels: list[str]


def _read(kind: str, place: str, options: TableOptions, tokenizer: Tokenizer) -> _Texts:
    files = find_files(place, kind)
    quick = is_quick(files, tokenizer)
    units = [unit.result(quick=quick) for unit in table_units(kind, files, options, tokenizer)]
    labels = list(dict.fromkeys(label for unit in units for label in unit.labels))
    number = {label: k for k, label in enumerate(labels)}
    codes = [np.array([number[label] for label in unit.labels], np.int64)[unit.codes] for unit in units]
    sizes = np.concatenate([unit.sizes for unit in units])
    if not len(sizes):
        raise UserError(f"{kind}:{place} holds no texts")
    return _Texts(TokenStream([unit.tokens for unit in units]), sizes, np.concatenate(codes), labels)


def _split(found: _Texts, names: Sequence[str], options: TableOptions, tokenizer: Tokenizer) -> Split:
    number = {name: k for k, name in enumerate(names)}
    classes = np.array([number[label] for label in found.labels], np.int64)[found.codes]
    starts = np.cumsum(found.sizes) - found.sizes
    return Split(TokenRows(found.stream, starts, found.sizes, options.length, closes=tokenizer.closes), classes)


def _check_classes(names: Sequence[str], num_texts: int, where: str, task: str | None) -> None:
    """Raise a UserError if classes are probably amounts, unless ``task`` says that they are not."""
    if task is not None:
        return
    odd = next((name for name in names if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+)", name)), None)
    if odd is not None or len(names) > max(MANY, num_texts / 2):
        why = f"such as {odd}" if odd is not None else f"{len(names):,} distinct ones for {num_texts:,} texts"
        raise UserError(
            f"{where}: the classes may be numbers to predict ({why}), and texts are for classification: "
            "--task classification takes each distinct one for a class"
        )


def _notes(place: str, split: Split, options: TableOptions) -> Iterator[str]:
    cut = int((split.x.sizes > options.length).sum())
    if cut:
        yield (
            f"{place}: {cut:,} of {len(split):,} texts are longer than {options.length} tokens, and cut: length= takes "
            "more"
        )
