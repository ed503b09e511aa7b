"""Datasets of openml.org through scikit-learn's ``fetch_openml``, which downloads a set once and keeps it."""

import importlib.util
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any

import numpy as np

from ...errors import UserError
from ..build import Arrays
from ..files import one_line
from ..tables.cells import CellFormat, Kind

_IMAGES = {"mnist_784": (1, 28, 28), "Fashion-MNIST": (1, 28, 28), "CIFAR_10": (3, 32, 32)}  # (C, H, W) of a row


def read_openml(name: str) -> tuple[Arrays, tuple[str, ...], str]:
    """Return a set, the names of its features (none for images) and of its target.

    Returns
    -------
    x : (N, H, W, C) uint8 for the known sets of images, (N, F) float64 for any other
    y : (N,) array of text for classes or of float64

    Raises
    ------
    UserError
        If scikit-learn is missing, there is no connection, no such set, or the set has text features or no target.
    """
    where = f"openml:{name}"
    if not name:
        raise UserError("openml: say which dataset, as in openml:mnist_784")
    bunch = _fetch(name)
    features, targets = list(bunch["feature_names"]), list(bunch["target_names"] or [])
    if bunch["target"] is None or not targets:
        raise UserError(f"{where} does not say which of its columns is the target")
    try:
        x = np.asarray(bunch["data"], np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{where} is no table of numbers") from None
    x = _without_categories(x, features, bunch.get("categories") or {}, where)
    _check_whole(x, features, where)
    y = np.asarray(bunch["target"])
    if y.dtype.kind == "O" and any(value is None for value in y.flat):
        raise UserError(f"{where}: the target {targets[0]!r} has missing values")
    if name in _IMAGES:
        return (_images(x, _IMAGES[name], where), y), (), targets[0]
    return (x, y), tuple(features), targets[0] if len(targets) == 1 else ""


def _fetch(name: str) -> Any:
    try:
        from sklearn.datasets import fetch_openml
    except ImportError:
        raise UserError(f"openml:{name} needs scikit-learn, which pip install 'mpitrain[openml]' brings") from None
    parser = "auto" if importlib.util.find_spec("pandas") else "liac-arff"  # the one that needs no pandas
    try:
        return fetch_openml(name, as_frame=False, parser=parser)
    except (OSError, HTTPException) as error:
        raise UserError(
            f"openml:{name} cannot be downloaded: no connection to openml.org ({one_line(error)})"
        ) from None
    except ValueError as error:
        raise UserError(f"openml:{name} cannot be read from openml.org ({one_line(error)})") from None


def _without_categories(
    x: np.ndarray, features: Sequence[str], categories: Mapping[str, Sequence[Any]], where: str
) -> np.ndarray:
    """Return x with the codes of categories replaced by their values, which must be numbers, or True and False."""
    text = []
    for k, feature in enumerate(features):
        if feature not in categories:
            continue
        cells = [str(category) for category in categories[feature]]
        values, kinds = CellFormat().interpret(cells)
        if set(kinds.tolist()) not in ({Kind.NUMBER}, {Kind.BOOLEAN}):
            text.append(feature)
            continue
        known = ~np.isnan(x[:, k])
        x[known, k] = values[x[known, k].astype(np.int64)]
    if text:
        raise UserError(f"{where}: columns {', '.join(map(repr, text))} hold categories, expected numbers only")
    return x


def _check_whole(x: np.ndarray, features: Sequence[str], where: str) -> None:
    missing = np.argwhere(np.isnan(x))
    if len(missing):
        row, column = missing[0].tolist()
        raise UserError(
            f"{where}: {len(missing)} missing values, the first in column {features[column]!r} of row {row}"
        )


def _images(x: np.ndarray, shape: tuple[int, int, int], where: str) -> np.ndarray:
    """Return flat rows of channels as images of bytes with channels last."""
    if x.ndim != 2 or x.shape[1] != np.prod(shape):
        raise UserError(f"{where}: expected rows of {np.prod(shape)} pixels and found the shape {x.shape}")
    with np.errstate(invalid="ignore"):  # what does not fit is found by the comparison
        pixels = x.astype(np.uint8)
    if not np.array_equal(pixels, x):
        raise UserError(f"{where}: expected pixels from 0 to 255 and found other values")
    return np.ascontiguousarray(pixels.reshape(-1, *shape).transpose(0, 2, 3, 1))
