"""Routing of tokens to experts: the choice of the largest scores, an order by expert, rows there and back.

Shapes: M tokens, E experts, k experts for each token, R = M k rows, C the size of a vector; scores (M, E), chosen and
places (M, k), rows (R, C), all C-contiguous. Any M, also 0.
"""

from typing import Any, NamedTuple

import numpy as np

from ..device import device_of
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
    places : (M, k) array of int64
        The row of each choice: the inverse of ``order``.
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
    places = np.empty_like(order)
    places[order] = np.arange(len(order), like=order)
    counts = np.bincount(flat, minlength=num_experts)
    return Route(order // chosen.shape[1], order, places.reshape(chosen.shape), device_of(counts).to_host(counts))


def take_rows(x: np.ndarray, numbers: np.ndarray, rows: np.ndarray) -> None:
    """Write rows[r] = x[numbers[r]]."""
    np.take(x, numbers, axis=0, out=rows, mode="clip")


def sum_of_rows(rows: np.ndarray, places: np.ndarray, weights: np.ndarray | None, y: np.ndarray) -> None:
    """Write y[m] = the sum over j of weights[m, j] rows[places[m, j]], in the order of j; without ``weights`` of 1."""
    part = workspace(y, "part", y.shape)
    for j in range(places.shape[1]):
        target = y if j == 0 else part
        take_rows(rows, places[:, j], target)
        if weights is not None:
            np.multiply(target, weights[:, j, None], out=target)
        if j:
            np.add(y, part, out=y)
