"""Ways in which an array lies in a file, and how it lies here: pairs of functions that are inverse to each other.

Shapes: a Linear (I, O) here, which is (O, I) in PyTorch; images and kernels have their channels last here.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Layout(NamedTuple):
    """``read`` turns an array of a file into one of ours, ``write`` turns ours back. Both move numbers, and no bits."""

    read: Callable[[np.ndarray], np.ndarray]
    write: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda array: array, lambda array: array)
"""Norms, biases, tables of vectors, and the Conv1D of GPT-2, which is (I, O) as a Linear is here."""

LINEAR = Layout(np.transpose, np.transpose)
"""A Linear of PyTorch; a vector, its bias, stays as it is."""

KERNELS = Layout(lambda array: array.transpose(2, 3, 1, 0), lambda array: array.transpose(3, 2, 0, 1))
"""The kernels of a convolution, which are (O, C, KH, KW) in PyTorch and (KH, KW, C, O) here."""


def patches(patch: int, channels: int) -> Layout:
    """Return the layout of a convolution (O, channels, P, P) without overlap: here a Linear (P P channels, O)."""
    return Layout(
        lambda array: array if array.ndim == 1 else array.transpose(2, 3, 1, 0).reshape(-1, len(array)),
        lambda array: array if array.ndim == 1 else _kernels(array, patch, channels),
    )


def _kernels(array: np.ndarray, patch: int, channels: int) -> np.ndarray:
    kernels: np.ndarray = array.reshape(patch, patch, channels, array.shape[1]).transpose(3, 2, 0, 1)
    return kernels


def leading(count: int) -> Layout:
    """Return the layout of an array with ``count`` leading dimensions of 1 that we leave out."""
    return Layout(
        lambda array: array.reshape(array.shape[count:]), lambda array: array.reshape((1,) * count + array.shape)
    )


def neighbors(head_size: int) -> Layout:
    """Return the layout of a Linear (O, I) whose rotary pairs are the outputs 2i and 2i + 1 of each head (GGUF).

    Here, as in Hugging Face's models, they are i and i + D / 2.
    """
    half = head_size // 2
    return Layout(
        lambda array: _swap(array, half, 2).T,
        lambda array: _swap(array.T, 2, half),
    )


def _swap(array: np.ndarray, first: int, second: int) -> np.ndarray:
    """Return (heads first second, I) with the two inner parts of its rows in the other order."""
    rows = array.reshape(-1, first, second, *array.shape[1:]).swapaxes(1, 2)
    return rows.reshape(array.shape)
