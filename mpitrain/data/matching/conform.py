"""Match data to a trained model: columns and classes in its order, by name."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import UserError
from ...suggest import did_you_mean
from ..categories import Category
from ..dataset import CLASSIFICATION, SEGMENTATION, Dataset
from ..lazy import is_lazy
from ..pixels import renumbered
from .signature import Signature

_SHOWN = 5  # names in a message


def conform(dataset: Dataset, signature: Signature, where: str) -> Dataset:
    """Return a dataset with the columns and classes of ``signature``, in its order; others are dropped with a note.

    Raises
    ------
    UserError
        If a column is lacking, a class is unknown, or the task, the target or a shape is another.
    """
    if dataset.task != signature.task:
        raise UserError(f"{where} is for {dataset.task}, but the model was trained for {signature.task}")
    check_target(dataset.target_name, signature, where)
    check_tokens(dataset, signature, where)
    places, notes = find_columns(dataset.feature_names, signature, where)
    splits, class_names, categories = dataset.splits, dataset.class_names, dataset.categories
    if places is not None:
        splits = {
            part: dataclasses.replace(own, x=np.ascontiguousarray(own.x[:, places])) for part, own in splits.items()
        }
        categories = tuple(categories[k] for k in places) if categories else ()
    if signature.categories or categories:
        splits = {
            part: dataclasses.replace(own, x=recode(own.x, categories, signature, where))
            for part, own in splits.items()
        }
    if signature.task in (CLASSIFICATION, SEGMENTATION) and dataset.class_names != signature.class_names:
        names = dataset.class_names
        number = number_pixels if signature.task == SEGMENTATION else number_classes
        splits = {
            part: dataclasses.replace(own, y=number(names, own.y, signature, where)) for part, own in splits.items()
        }
        class_names = signature.class_names
    for split in splits.values():
        check_shapes(split.x, split.y, signature, where)
    return dataclasses.replace(
        dataset,
        train=splits["train"],
        test=splits["test"],
        validation=splits.get("validation"),
        num_outputs=signature.num_outputs,
        class_names=class_names,
        feature_names=signature.feature_names or dataset.feature_names,
        categories=signature.categories,
        encoding=signature.encoding,
        notes=(*dataset.notes, *notes),
    )


def in_order_of(signature: Signature, dataset: Dataset, where: str) -> Dataset:
    """Return ``dataset`` in the order of ``signature`` (``conform``), or as it is where it does not fit."""
    try:
        return conform(dataset, signature, where)
    except UserError:
        return dataset


def find_columns(
    found: Sequence[str], signature: Signature, where: str, wanted: Sequence[str] = ()
) -> tuple[list[int] | None, tuple[str, ...]]:
    """Return the positions of the model's columns among those ``found`` (None if equal), and notes.

    Parameters
    ----------
    wanted : sequence of str
        The model's columns in a file; by default those of its samples.

    Raises
    ------
    UserError
        If a column is lacking.
    """
    wanted = wanted or signature.feature_names
    if not wanted or not found:
        if wanted and not found:
            return None, (f"{where} has no column names: its columns are taken in order as {say_names(wanted)}",)
        if found and len(signature.input_shape) == 1:
            return None, (f"the model was trained on columns without names: those of {where} are taken in order",)
        return None, ()
    place_of = {name: place for place, name in enumerate(found)}
    lacking = [name for name in wanted if name not in place_of]
    if lacking:
        raise UserError(
            f"{where} lacks {say_columns(lacking)}, which the model was trained on{did_you_mean(lacking[0], found)}; "
            f"it has {say_columns(found)}"
        )
    known = set(wanted)
    notes = say_ignored([name for name in found if name not in known], where)
    places = [place_of[name] for name in wanted]
    return (None if tuple(found) == tuple(wanted) else places), notes


def say_ignored(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Return a note on columns that a model does not take, if there are any."""
    verb = "is" if len(names) == 1 else "are"
    return (f"{where}: {say_columns(names)} {verb} not among the model's, and ignored",) if names else ()


def recode(x: np.ndarray, categories: Sequence[Category | None], signature: Signature, where: str) -> np.ndarray:
    """Return samples (N, F) of ``categories`` with the codes of the model; values that it does not know are 0.

    Raises
    ------
    UserError
        If a column holds categories here and numbers there, or the other way round.
    """
    if len(categories) != len(signature.categories):
        kinds = "categories", "only numbers"
        now, then = kinds if categories else kinds[::-1]
        raise UserError(f"{where} has {now} in its columns, but the model was trained on {then}")
    found = x
    for column, (now_of, then_of) in enumerate(zip(categories, signature.categories)):
        if (now_of is None) != (then_of is None):
            name = repr(signature.feature_names[column]) if signature.feature_names else str(column)
            now, then = ("numbers", "categories") if now_of is None else ("categories", "numbers")
            raise UserError(f"column {name} of {where} holds {now}, but the model was trained on {then}")
        if now_of is not None and then_of is not None and now_of.digest() != then_of.digest():
            found = np.array(x) if found is x else found
            found[:, column] = then_of.translate(x[:, column].astype(np.int64), now_of)
    return found


def check_target(name: str, signature: Signature, where: str) -> None:
    """Raise a UserError if ``name`` is another target than the model's; either may be unknown (empty)."""
    if name and signature.target_name and name != signature.target_name:
        raise UserError(f"the model predicts {signature.target_name!r}, but the target of {where} is {name!r}")


def check_tokens(dataset: Dataset, signature: Signature, where: str) -> None:
    """Raise a UserError if samples are tokens of another vocabulary than the model's, or of another tokenizer."""
    digest = "" if dataset.tokenizer is None else dataset.tokenizer.digest
    if digest and signature.tokenizer and digest != signature.tokenizer:
        raise UserError(f"{where} is encoded by another tokenizer than the text that the model was trained on")
    if dataset.masked != signature.masked:
        kinds = "hidden tokens (mask=)", "the next tokens"
        wanted, found = kinds if signature.masked else kinds[::-1]
        raise UserError(f"the model predicts {wanted}, but the targets of {where} are {found}")
    if dataset.vocabulary > signature.vocabulary and signature.vocabulary:
        raise UserError(
            f"{where} has a vocabulary of {dataset.vocabulary:,} tokens, but the model knows {signature.vocabulary:,}"
        )


def check_shapes(x: Any, y: Any, signature: Signature, where: str) -> None:
    """Raise a UserError unless samples (N, ...) and targets are of the model's shapes."""
    if x.shape[1:] != signature.input_shape:
        raise UserError(
            f"samples of {where} have the shape {x.shape[1:]}, but the model was trained on {signature.input_shape}"
        )
    if y is not None and not is_lazy(y) and y.ndim == 2 and y.shape[1] != signature.num_outputs:
        raise UserError(
            f"{where} has {y.shape[1]} targets for each sample, but the model was trained on {signature.num_outputs}"
        )


def number_classes(
    names: Sequence[str],
    codes: np.ndarray,
    signature: Signature,
    where: str,
    place: Callable[[int], str] = "row {}".format,
) -> np.ndarray:
    """Return the model's class numbers (N,) of samples; some classes may be absent.

    Parameters
    ----------
    names : sequence of str
        Labels.
    codes : (N,) array of int
        Places in ``names``: the label of each sample.
    place : callable(int) -> str
        Location of row i, for messages.

    Raises
    ------
    UserError
        If the model does not know a label: with these labels, and the location of the first of each.
    """
    numbers = {name: number for number, name in enumerate(signature.class_names)}
    known = np.array([numbers.get(name, numbers.get(_whole(name), -1)) for name in names], np.int64)
    found: np.ndarray = known[codes]
    if len(found) and found.min() < 0:
        _refuse_classes(names, codes, found < 0, signature, where, place)
    return found


def number_pixels(names: Sequence[str], codes: np.ndarray, signature: Signature, where: str) -> np.ndarray:
    """Return the model's class numbers (N, H, W) of pixels; see ``number_classes``.

    Labels of pixels are integers: where the model's classes have names, they are places among these.

    Parameters
    ----------
    codes : (N, H, W) array of int
        Places in ``names``; ``UNLABELED`` for pixels without a label.
    """
    known = signature.class_names
    if not any(name.isdecimal() for name in known) and all(name.isdecimal() for name in names):
        names = [known[int(name)] if int(name) < len(known) else name for name in names]
    places = np.arange(len(names))
    numbers = number_classes(
        names, places, signature, where, lambda place: f"of {int((codes == place).sum()):,} pixels"
    )
    return renumbered(codes, numbers.tolist())


def _refuse_classes(
    names: Sequence[str],
    codes: np.ndarray,
    wrong: np.ndarray,
    signature: Signature,
    where: str,
    place: Callable[[int], str],
) -> None:
    rows = np.flatnonzero(wrong)
    unknown, first = np.unique(codes[rows], return_index=True)
    placed = sorted((int(rows[row]), names[code]) for code, row in zip(unknown, first))
    named = [f"{name!r} ({place(row)})" for row, name in placed[:_SHOWN]]
    more = f" and {len(placed) - _SHOWN} more" if len(placed) > _SHOWN else ""
    raise UserError(
        f"{where} has {'a class' if len(placed) == 1 else 'classes'} that the model does not know: "
        f"{', '.join(named)}{more}{did_you_mean(placed[0][1], signature.class_names)}; it knows "
        f"{say_names(signature.class_names)}"
    )


def say_columns(names: Sequence[str]) -> str:
    """Return column 'a', or columns 'a', 'b'."""
    return f"column{'s' * (len(names) > 1)} {say_names(names)}"


def say_names(names: Sequence[str], most: int = 20) -> str:
    """Return 'a', 'b' as text, with only the first of very many names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def _whole(label: str) -> str:
    """Return 1 for 1.0: data frames write whole numbers like this if the column has missing cells."""
    return re.sub(r"\.0+", "", label) if re.fullmatch(r"-?\d+\.0+", label) else label
