"""Ops on a GPU by our kernels. Importing this package registers the paths (``ops/dispatch.py``); it needs no GPU.

Ops that are not here run their NumPy function, as CuPy arrays implement them: without matrix products, since cuBLAS,
which CuPy needs for them, is not installed with this package.
"""

from . import (
    attention,
    batchnorm,
    conv2d,
    dropout,
    elementwise,
    embedding,
    gelu,
    lars,
    layernorm,
    linear,
    mse,
    pool,
    reduce,
    rmsnorm,
    rotary,
    softmax,
    softmax_cross_entropy,
    swiglu,
    update,
)

__all__ = [
    "attention",
    "batchnorm",
    "conv2d",
    "dropout",
    "elementwise",
    "embedding",
    "gelu",
    "lars",
    "layernorm",
    "linear",
    "mse",
    "pool",
    "reduce",
    "rmsnorm",
    "rotary",
    "softmax",
    "softmax_cross_entropy",
    "swiglu",
    "update",
]
