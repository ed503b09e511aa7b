"""Ops on a GPU: what each launches. Importing this package registers the paths (``ops/dispatch.py``); it needs no GPU.

What is not here runs as it is written for NumPy: CuPy's arrays answer NumPy's functions.
"""

from . import conv2d, dropout, elementwise, embedding, lars, linear, losses, normalise, pools, sums, update

__all__ = [
    "conv2d",
    "dropout",
    "elementwise",
    "embedding",
    "lars",
    "linear",
    "losses",
    "normalise",
    "pools",
    "sums",
    "update",
]
