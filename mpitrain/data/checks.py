"""Bring the arrays of a file into the shapes and dtypes that training takes, or say what is wrong with them.

Shapes: N samples; H, W, C height, width and channels of an image; F features of a table; K targets.
Every function takes ``where``, the beginning of the sentence that a user gets to read.
"""

import math

import numpy as np

from ..errors import UserError

_CHUNK = 1 << 22  # elements looked at in one go


def check_features(x: np.ndarray, where: str, names: tuple[str, ...] = ()) -> np.ndarray:
    """Return samples as (N, F) float32, or as (N, H, W, C) float32 or uint8.

    Images of shape (N, H, W) get one channel. Integers other than bytes of images become float32.

    Raises
    ------
    UserError
        If there are no samples, the shape or dtype is another, or a value is NaN or infinite.
    """
    if x.ndim not in (2, 3, 4):
        raise UserError(f"{where} have the shape {x.shape}, expected (N, F), (N, H, W) or (N, H, W, C)")
    if x.ndim == 3:
        x = x[..., None]
    if 0 in x.shape:
        raise UserError(f"{where} have the shape {x.shape}: there is nothing in them")
    if x.dtype == np.uint8 and x.ndim == 4:
        return np.ascontiguousarray(x)
    x = _float32(x, where)
    _check_finite(x, where, names)
    return x


def check_targets(y: np.ndarray, where: str, names: tuple[str, ...] = ()) -> np.ndarray:
    """Return regression targets as (N, K) float32.

    Raises
    ------
    UserError
        If they are not numbers in one or two dims, or one is NaN or infinite.
    """
    if y.ndim == 1:
        y = y[:, None]
    if y.ndim != 2 or y.shape[1] == 0:
        raise UserError(f"{where} have the shape {y.shape}, expected (N,) or (N, K)")
    y = _float32(y, where)
    _check_finite(y, where, names)
    return y


def check_labels(labels: np.ndarray, num_classes: int, where: str) -> np.ndarray:
    """Return class numbers as (N,) int64.

    Raises
    ------
    UserError
        If one is not in ``range(num_classes)``.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        found = f"{labels[wrong[0]]} for sample {wrong[0]}"
        raise UserError(f"{where}: expected labels from 0 to {num_classes - 1} and found {found}")
    return labels.astype(np.int64)


def check_counts(x: np.ndarray, y: np.ndarray, where: str) -> None:
    """Raise UserError unless every sample has one target."""
    if x.ndim == 0 or y.ndim == 0:
        raise UserError(f"{where}: {'the samples' if x.ndim == 0 else 'the targets'} are a single value, not an array")
    if len(x) != len(y):
        raise UserError(f"{where}: {len(x)} samples, but targets for {len(y)}")


def _float32(values: np.ndarray, where: str) -> np.ndarray:
    if values.dtype.kind not in "buif":
        raise UserError(f"{where} are of type {values.dtype}, expected numbers")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is found as such
        return np.ascontiguousarray(values, np.float32)


def _check_finite(values: np.ndarray, where: str, names: tuple[str, ...]) -> None:
    rows = max(1, _CHUNK // math.prod(values.shape[1:]))
    for start in range(0, len(values), rows):
        finite = np.isfinite(values[start : start + rows])
        if not finite.all():
            place = np.argwhere(~finite)[0]
            row, column = int(place[0]), int(place[-1])
            column_name = f"column {names[column]!r} of " if names else ""
            raise UserError(
                f"{where} hold NaN, Inf or more than float32 can hold, first in {column_name}row {start + row}"
            )
