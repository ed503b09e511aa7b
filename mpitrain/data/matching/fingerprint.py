"""Fingerprints of datasets, to find out whether and where two of them differ.

A fingerprint is a short text for each part: names, classes and task as they are, arrays by shape, dtype and a hash of
their contents. Arrays of up to ``blocks.WHOLE`` bytes are hashed whole. Of larger ones some blocks are hashed, at
places that depend only on the size: a changed column, order, scale or file is found, a change of a few rows may be
missed. A memory-mapped file is read in these blocks only.
"""

from pathlib import Path

import numpy as np

from ..blocks import digest_bytes
from ..dataset import Dataset, Split
from ..lazy import LazyRows
from ..mapped import MappedRows

Fingerprint = dict[str, str]


def fingerprint(dataset: Dataset, arrays: Fingerprint | None = None) -> Fingerprint:
    """Return the fingerprint of a dataset, one line per part.

    Parameters
    ----------
    arrays : dict of str to str, optional
        ``contents(dataset)``, if it is known: hashes take time.

    Examples
    --------
    >>> from mpitrain.data import open_dataset
    >>> list(fingerprint(open_dataset("digits")))[-4:]
    ['training samples', 'training targets', 'test samples', 'test targets']
    """
    names = {
        "task": dataset.task,
        "target": dataset.target_name,
        "columns": ", ".join(map(repr, dataset.feature_names)),
        "classes": ", ".join(map(repr, dataset.class_names)),
    }
    if dataset.vocabulary:
        names["vocabulary"] = f"{dataset.vocabulary} tokens"
        names["tokenizer"] = "" if dataset.tokenizer is None else dataset.tokenizer.digest
    for column, one in enumerate(dataset.categories):
        if one is not None:
            name = repr(dataset.feature_names[column]) if dataset.feature_names else str(column)
            names[f"categories of column {name}"] = one.digest()
    return names | (contents(dataset) if arrays is None else arrays)


def contents(dataset: Dataset) -> Fingerprint:
    """Return the lines of the arrays alone."""
    lines: Fingerprint = {}
    for name, split in dataset.splits.items():
        lines |= fingerprint_of_split("training " if name == "train" else f"{name} ", split)
    return lines


def fingerprint_of_split(prefix: str, split: Split) -> Fingerprint:
    """Return the lines of one split."""
    return {f"{prefix}samples": digest_array(split.x), f"{prefix}targets": digest_array(split.y)}


def digest_array(array: np.ndarray | LazyRows | MappedRows) -> str:
    """Return shape, dtype and a hash of the contents, such as ``(1437, 8, 8, 1) uint8 5f2d...``."""
    if isinstance(array, LazyRows):
        return array.digest()
    if isinstance(array, MappedRows):
        return f"{array.shape} {array.dtype.name} {array.digest()}"
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8) if array.size else np.empty(0, np.uint8)
    return f"{array.shape} {array.dtype.name} {digest_bytes(flat)}"


def digest_file(path: Path) -> str:
    """Return size and a hash of the contents of a file, such as ``(4096 bytes) 5f2d...``.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    return f"({data.size} bytes) {digest_bytes(data)}"
