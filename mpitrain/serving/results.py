"""Rows of several requests as one batch, and the results of a batch as those of requests.

Shapes: n samples, T tokens.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..context import PAD

Arrays = Any
"""An array (n, ...), or a tuple of such arrays."""


def join(parts: Sequence[np.ndarray], width: int = 0) -> np.ndarray:
    """Return samples of several requests as one batch; tokens, (n, T) integers of several widths, are padded.

    Parameters
    ----------
    width : int
        Tokens of each row; 0 for the longest.

    Examples
    --------
    >>> join([np.array([[1, 2]]), np.array([[3]])]).tolist()
    [[1, 2], [3, -1]]
    """
    first = parts[0]
    if first.ndim != 2 or first.dtype != np.int64:
        return first if len(parts) == 1 else np.concatenate(parts)
    width = width or max(part.shape[1] for part in parts)
    if len(parts) == 1 and first.shape[1] == width:
        return first
    batch = np.full((sum(map(len, parts)), width), PAD, np.int64)
    start = 0
    for part in parts:
        batch[start : start + len(part), : part.shape[1]] = part
        start += len(part)
    return batch


def part_of(results: Arrays, start: int, stop: int) -> Arrays:
    """Return the results of some samples of a batch."""
    if isinstance(results, tuple):
        return tuple(array[start:stop] for array in results)
    return results[start:stop]


def concatenate(results: Sequence[Arrays]) -> Arrays:
    """Return the results of several batches as one."""
    if isinstance(results[0], tuple):
        return tuple(np.concatenate(arrays) for arrays in zip(*results, strict=True))
    return np.concatenate(results)
