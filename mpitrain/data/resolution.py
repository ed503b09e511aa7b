"""Loss of resolution: values of a column or channel that the float format no longer distinguishes.

Shapes: N samples, C columns or channels, M sampled values of each.
"""

import math

import numpy as np

from .normalize import Normalizer

_ROWS = 4096  # looked at, at most
_ELEMENTS = 1 << 18
_STEPS = 16  # a deviation of fewer steps of the number format has lost much to rounding


def resolution_notes(x: np.ndarray, normalizer: Normalizer, names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return notes on columns whose values have become equal, in the source or by scaling to float32.

    Evenly spaced rows are looked at; mean and deviation are those of all. It depends on nothing else, so that all
    ranks find the same.

    Parameters
    ----------
    x : (N, F), (N, H, W, C) or (N, K) array
        Samples, or targets of a regression. Bytes are exact.
    normalizer : Normalizer
        Normalizer of ``x``.
    names : tuple of str
        Names of the columns, if they have any.
    where : str
        The beginning of a sentence.
    """
    if x.dtype == np.uint8:
        return ()
    rows = max(2, min(_ROWS, _ELEMENTS // math.prod(x.shape[1:])))
    sample = np.ascontiguousarray(x[:: -(-len(x) // rows)])
    channels = x.shape[-1]
    distinct = _distinct(sample.reshape(-1, channels))
    kept = _distinct(normalizer(sample).reshape(-1, channels))
    coarse = _coarse(x, normalizer, distinct)
    merged = ~coarse & (distinct > 1) & (2 * kept <= distinct)
    notes = []
    if coarse.any():
        k = int(np.argmax(coarse))
        step = np.spacing(x.dtype.type(abs(normalizer.mean[k])))
        spread = f"varies by {normalizer.std[k]:.2g} around" if distinct[k] > 1 else "holds only"
        wider = "float64, or " if x.dtype == np.float32 else ""
        notes.append(
            f"{where}: {_name(names, k)} {spread} {normalizer.mean[k]:.9g}, where {x.dtype} has steps of {step:.2g}: "
            f"finer differences are lost (save {wider}differences from an offset){_and_more(coarse)}"
        )
    if merged.any():
        k = int(np.argmax(merged))
        notes.append(
            f"{where}: scaled by its deviation of {normalizer.std[k]:.2g}, {_name(names, k)} has only {kept[k]:,} "
            f"values that float32 tells apart, of {distinct[k]:,} looked at: is there an outlier?{_and_more(merged)}"
        )
    return tuple(notes)


def _distinct(values: np.ndarray) -> np.ndarray:
    """Return the number of distinct values in each column of (M, C)."""
    counts: np.ndarray = 1 + np.count_nonzero(np.diff(np.sort(values, axis=0), axis=0), axis=0)
    return counts


def _coarse(x: np.ndarray, normalizer: Normalizer, distinct: np.ndarray) -> np.ndarray:
    """Return a mask of the columns that vary by few steps of the number format, or by none if steps exceed 1."""
    steps = np.spacing(np.abs(normalizer.mean).astype(x.dtype)).astype(np.float64)
    coarse: np.ndarray = np.where(distinct > 1, normalizer.std < _STEPS * steps, steps > 1)
    return coarse


def _name(names: tuple[str, ...], k: int) -> str:
    return f"column {names[k]!r}" if names else f"column {k}"


def _and_more(found: np.ndarray) -> str:
    more = int(np.count_nonzero(found)) - 1
    return f"; the same for {more} more column{'s' * (more > 1)}" if more else ""
