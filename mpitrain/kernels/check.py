"""Comparison of the kernels' products with float64 NumPy, on any device."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .gemm import Shape

TOLERANCE = {"fp32": 1e-6, "tf32": 2e-3, "bf16": 1e-2}
"""Largest error relative to the sum of absolute products; for tf32 and bf16, the rounding of the inputs."""

SIZES = [
    (1, 1, 1),
    (5, 3, 2),
    (64, 10, 128),
    (128, 128, 64),
    (129, 127, 65),
    (20, 30, 3000),
    (300, 2, 33),
    (7, 500, 9),
]
LAYOUTS = [(False, False), (False, True), (True, False), (True, True)]


@dataclass(frozen=True)
class Result:
    """One product: its shape, its error and the tolerance."""

    shape: Shape
    error: float
    tolerance: float

    @property
    def right(self) -> bool:
        """True if the error is within the tolerance; False for NaN."""
        return self.error <= self.tolerance


def shapes(inputs: str) -> Iterator[Shape]:
    """Yield ragged shapes in all layouts."""
    for m, n, k in SIZES:
        for transpose_a, transpose_b in LAYOUTS:
            yield Shape(m, n, k, 1, transpose_a, transpose_b, inputs)
    yield Shape(33, 20, 70, batch=3, inputs=inputs)


def check_product(device: Any, multiply: Callable[..., None], shape: Shape, seed: int = 0) -> Result:
    """Return the error of the kernels' product of random matrices, compared with float64."""
    rng = np.random.default_rng(seed)
    batch = () if shape.batch == 1 else (shape.batch,)
    a = rng.standard_normal((*batch, shape.m, shape.k), np.float32)
    b = rng.standard_normal((*batch, shape.k, shape.n), np.float32)
    bias = rng.standard_normal(shape.n, np.float32)
    stored_a = np.ascontiguousarray(a.swapaxes(-1, -2)) if shape.transpose_a else a
    stored_b = np.ascontiguousarray(b.swapaxes(-1, -2)) if shape.transpose_b else b
    out = device.empty((*batch, shape.m, shape.n))
    device.precision, before = shape.inputs, device.precision
    try:
        multiply(
            device.from_host(stored_a),
            device.from_host(stored_b),
            out,
            transpose_a=shape.transpose_a,
            transpose_b=shape.transpose_b,
            bias=device.from_host(bias),
        )
    finally:
        device.precision = before
    exact = a.astype(np.float64) @ b + bias
    scale = np.abs(a).astype(np.float64) @ np.abs(b) + np.abs(bias)
    error = np.max(np.abs(device.to_host(out) - exact) / scale)
    return Result(shape, float(error), TOLERANCE[shape.inputs])
