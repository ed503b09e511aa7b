"""Launches of planned products: the record that every gemm kernel takes, after tensor maps for some."""

import struct
from typing import Any

import numpy as np

from .gemm import RECORD, GemmPlan, Shape
from .launch import launch
from .matrices import Matrices
from .plan import ceil_div
from .round_tf32 import round_factors, rounds

_PACK = struct.Struct("8Q4q10i2f")
assert _PACK.size == RECORD.itemsize, "the fields of RECORD"


def launch_gemm(
    device: Any,
    made: GemmPlan,
    shape: Shape,
    a: Matrices,
    b: Matrices,
    out: Matrices,
    *,
    bias: int = 0,
    pre: int = 0,
    column_sums: int = 0,
    partials: int = 0,
    rounded: int = 0,
    alpha: float = 1.0,
    beta: float = 0.0,
) -> None:
    """Launch the plan ``made`` of ``shape``: out = epilogue(alpha A B + beta out + bias), with arrays as addresses."""
    if rounds(made, shape):
        a, b = round_factors(device, shape, a, b, rounded)
    record = _PACK.pack(
        *(a.address, b.address, out.address, bias, out.address, pre, column_sums, partials),
        *(a.apart, b.apart, out.apart, out.apart),
        *(a.ld, b.ld, out.ld, out.ld),
        *(shape.m, shape.n, shape.k, shape.batch, made.splits, made.k_split),
        *(alpha, beta),
    )
    argument = np.frombuffer(record, RECORD).reshape(())
    maps: tuple[np.ndarray, ...] = ()
    if made.boxes is not None:
        size = 2 if shape.inputs == "bf16" else 4
        maps = tuple(factor.tensor_map(device, box, size) for factor, box in zip((a, b), made.boxes, strict=True))
    launch(device, made.kernel, made.launch, (*maps, argument))
    if made.sum_kernel is not None and made.sum_launch is not None:
        launch(device, made.sum_kernel, made.sum_launch, (argument,))


def partial_bytes(made: GemmPlan, shape: Shape) -> int:
    """Return the size of the working memory for the parts of K."""
    return 4 * made.splits * shape.batch * shape.m * shape.n if made.splits > 1 else 0


def num_slabs(made: GemmPlan, shape: Shape) -> int:
    """Return the number of rows of column sums that a product writes."""
    return shape.batch * ceil_div(shape.m, made.slab)
