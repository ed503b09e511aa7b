"""Routing of tokens to experts: the choice of the largest scores, an order by expert, rows there and back.

Shapes: M tokens, E experts, k experts for each token, R = M k rows, C the size of a vector; scores (M, E), chosen and
weights (M, k), places (k, M), rows (R, C), all C-contiguous. Any M, also 0.
"""

from typing import Any, NamedTuple

import numpy as np

from ..device import device_of
from .embedding import embedding
from .workspace import workspace

MOST_EXPERTS = 32767  # numbers of 16 bits are sorted in linear time


class Route(NamedTuple):
    """The way of M tokens to their experts.

    Attributes
    ----------
    tokens : (R,) array of int64
        The token of each row; rows are in the order of their experts, and for each expert in that of the tokens.
    order : (R,) array of int64
        The choice, token * k + j, that each row is.
    places : (k, M) array of int64
        The row of each choice j of each token: the inverse of ``order``.
    counts : (E,) array of int64, of the host
        Rows of each expert.
    """

    tokens: Any
    order: Any
    places: Any
    counts: np.ndarray


def choose_largest(scores: np.ndarray, k: int, chosen: np.ndarray) -> None:
    """Write the columns of the k largest scores of each row to ``chosen``, the largest first, of equals the first."""
    left = workspace(scores, "scores", scores.shape)
    np.copyto(left, scores)
    rows = np.arange(len(scores), like=scores)
    for j in range(k):
        chosen[:, j] = left.argmax(axis=1)
        left[rows, chosen[:, j]] = -np.inf


def route(chosen: np.ndarray, num_experts: int) -> Route:
    """Return the way of tokens to the experts ``chosen`` for them."""
    flat = chosen.reshape(-1)
    order = np.argsort(flat, kind="stable")
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order), like=order)
    counts = np.bincount(flat, minlength=num_experts)
    places = inverse.reshape(chosen.shape).T.copy()
    return Route(order // chosen.shape[1], order, places, device_of(counts).to_host(counts))


def sum_of_rows(rows: np.ndarray, places: np.ndarray, weights: np.ndarray | None, y: np.ndarray) -> None:
    """Write y[m] = the sum over j of weights[m, j] rows[places[j, m]], in the order of j; without ``weights`` of 1."""
    part = workspace(y, "part", y.shape)
    for j, numbers in enumerate(places):
        target = y if j == 0 else part
        embedding(numbers, rows, target)
        if weights is not None:
            np.multiply(target, weights[:, j, None], out=target)
        if j:
            np.add(y, part, out=y)


def row_dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the dot product of each row of a (M, C) with that of b, (M,)."""
    if isinstance(a, np.ndarray):
        dots: np.ndarray = np.einsum("mc,mc->m", a, b)
        return dots
    return np.multiply(a, b).sum(axis=1)  # CuPy's einsum needs cuBLAS
