"""Tables read, encoded and with their targets: what a dataset is built from.

Shapes: N rows, F columns of the samples, K targets.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .encoding import Encoding
from .matrix import Matrix


class Part(NamedTuple):
    """Rows of one file: x (N, F) float64, or int64 where all are codes; y (N,) classes or (N,) or (N, K) values."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True, eq=False)
class EncodedTable:
    """A table with its targets, and its test file if it has one.

    Attributes
    ----------
    name, task, target_name, class_names, notes
        As in ``Dataset``; classes are places in ``class_names``.
    parts : tuple of Part
        One, or one to train on and one to test on.
    encoding : Encoding
    """

    name: str
    task: str
    parts: tuple[Part, ...]
    encoding: Encoding
    target_name: str
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Room:
    """The place of large arrays: memory."""

    def matrix(self, num_columns: int) -> Matrix:
        """Return a float64 matrix that grows by rows."""
        return Matrix(num_columns)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an array to fill."""
        return np.empty(shape, dtype)
