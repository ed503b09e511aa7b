"""Checks of the arrays of a file, and conversion to the shapes and dtypes of training.

Shapes: N samples; H, W, C height, width and channels of an image; F features of a table; K targets.
Every function takes ``where``, the beginning of the sentence that a user gets to read.
"""

import numpy as np

from ..context import PAD
from ..errors import UserError
from .dataset import Dataset
from .floats import as_floats, contiguous
from .layout import check_channels_last


def check_features(x: np.ndarray, where: str, names: tuple[str, ...] = ()) -> np.ndarray:
    """Return samples as (N, F) float32 or float64, or as (N, H, W, C) float32, float64 or uint8.

    Images of shape (N, H, W) get one channel. Integers other than bytes of images become floats, as in ``as_floats``.

    Raises
    ------
    UserError
        If there are no samples, the shape or dtype is another, images have their channels first, or a value is NaN,
        infinite or an integer that float64 cannot hold.
    """
    if x.ndim not in (2, 3, 4):
        raise UserError(f"{where} have the shape {x.shape}, expected (N, F), (N, H, W) or (N, H, W, C)")
    if 0 in x.shape:
        raise UserError(f"{where} have the shape {x.shape}: there is nothing in them")
    if x.ndim == 3:
        x = x[..., None]
    elif x.ndim == 4:
        check_channels_last(x.shape, where)
    if x.dtype == np.uint8 and x.ndim == 4:
        return contiguous(x, np.uint8)
    return as_floats(x, where, names)


def check_token_rows(x: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return rows of tokens for a model of ``dataset`` as (N, L) int64.

    Raises
    ------
    UserError
        If they are no integers in two dims, longer than the samples of the dataset, or outside of its vocabulary.
    """
    longest = dataset.input_shape[0]
    if x.ndim != 2 or x.dtype.kind not in "iu" or not 0 < x.shape[1] <= longest:
        raise UserError(
            f"samples must be rows of tokens, (N, L) integers with L up to {longest}, not {x.shape} {x.dtype}"
        )
    rows = x.astype(np.int64)
    for found in (rows.min(initial=0), rows.max(initial=0)):
        if not PAD <= found < dataset.vocabulary:
            raise UserError(f"a token is {found}, and the vocabulary has the tokens 0 to {dataset.vocabulary - 1}")
    return rows


def check_targets(y: np.ndarray, where: str, names: tuple[str, ...] = ()) -> np.ndarray:
    """Return regression targets as (N, K) float32 or float64.

    Raises
    ------
    UserError
        If they are not numbers in one or two dims, or one is NaN, infinite or an integer that float64 cannot hold.
    """
    if y.ndim == 1:
        y = y[:, None]
    if y.ndim != 2 or y.shape[1] == 0:
        raise UserError(f"{where} have the shape {y.shape}, expected (N,) or (N, K)")
    return as_floats(y, where, names)


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
