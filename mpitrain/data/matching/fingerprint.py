"""Fingerprints of datasets, to find out whether and where two of them differ.

A fingerprint is a short text for each part: names, classes and task as they are, arrays by shape, dtype and a hash of
their contents. Arrays of up to ``WHOLE`` bytes are hashed whole. Of larger ones ``NUM_BLOCKS`` blocks are hashed, at
places that depend only on the size: a changed column, order, scale or file is found, a change of a few rows may be
missed. A memory-mapped file is read in these blocks only.
"""

import hashlib
from pathlib import Path

import numpy as np

from ..dataset import Dataset, Split
from ..rng import random_bits

WHOLE = 32 << 20  # bytes
NUM_BLOCKS, BLOCK = 256, 64 << 10
_PAGE = 4096
_PURPOSE = 4  # of random bits, distinct from those in rng.py

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


def digest_array(array: np.ndarray) -> str:
    """Return shape, dtype and a hash of the contents, such as ``(1437, 8, 8, 1) uint8 5f2d...``."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8) if array.size else np.empty(0, np.uint8)
    return f"{array.shape} {array.dtype.name} {_digest(flat)}"


def digest_file(path: Path) -> str:
    """Return size and a hash of the contents of a file, such as ``(4096 bytes) 5f2d...``.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    return f"({data.size} bytes) {_digest(data)}"


def _digest(data: np.ndarray) -> str:
    """Return the hash of (n,) bytes, or of blocks of them: the first, the last and one of each stretch in between."""
    hashed = hashlib.blake2b(digest_size=16)
    if data.nbytes <= WHOLE:
        hashed.update(data.data)
        return hashed.hexdigest()
    stretch = data.nbytes // NUM_BLOCKS
    random = random_bits(np.arange(NUM_BLOCKS), data.nbytes, _PURPOSE) % np.uint64(stretch - BLOCK + 1)
    starts = np.arange(NUM_BLOCKS) * stretch + random.astype(np.int64) // _PAGE * _PAGE
    starts[0], starts[-1] = 0, data.nbytes - BLOCK
    for start in starts.tolist():
        hashed.update(data[start : start + BLOCK].data)
    return hashed.hexdigest()
