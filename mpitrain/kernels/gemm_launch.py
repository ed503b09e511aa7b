"""Launches of planned products: the record that every gemm kernel takes, after tensor maps for some."""

from dataclasses import replace
from typing import Any

import numpy as np

from .gemm import PACKED, RECORD, Shape
from .gemm_plan import GemmPlan
from .launch import launch
from .matrices import Matrices
from .plan import ceil_div
from .round_tf32 import round_factors, rounds


def launch_gemm(
    device: Any,
    made: GemmPlan,
    shape: Shape,
    a: Matrices,
    b: Matrices,
    out: Matrices,
    *,
    bias: int = 0,
    c: int = 0,
    pre: int = 0,
    column_sums: int = 0,
    partials: int = 0,
    rounded: int = 0,
    alpha: float = 1.0,
    beta: float = 0.0,
) -> None:
    """Launch the plan ``made`` of ``shape``: out = epilogue(alpha A B + beta C + bias), with arrays as addresses.

    C is laid out as out, and out itself where ``c`` is 0.
    """
    if rounds(made, shape):
        a, b = round_factors(device, shape, a, b, rounded)
    record = PACKED.pack(
        *(a.address, b.address, c or out.address, bias, out.address, pre, column_sums, partials),
        *(a.apart, b.apart, out.apart, out.apart),
        *(a.ld, b.ld, out.ld, out.ld),
        *(shape.m, shape.n, shape.k, shape.batch, made.splits, made.k_split),
        *(alpha, beta),
    )
    argument = np.frombuffer(record, RECORD).reshape(())
    maps = _tensor_maps(device, made, shape, a, b, out, pre) if made.boxes is not None else ()
    stream = (made.stream.record,) if made.stream is not None else ()
    launch(device, made.kernel, made.launch, (*maps, argument, *stream))
    if made.sum_kernel is not None and made.sum_launch is not None:
        launch(device, made.sum_kernel, made.sum_launch, (argument, *stream))


def _tensor_maps(
    device: Any, made: GemmPlan, shape: Shape, a: Matrices, b: Matrices, out: Matrices, pre: int
) -> tuple[np.ndarray, ...]:
    """Return the maps of A, B, out and pre; in place of those that the kernel will not use, that of A."""
    assert made.boxes is not None
    assert made.stream is not None
    a_box, b_box, out_box = made.boxes
    read, written = (2 if kind == "bf16" else 4 for kind in (shape.inputs, shape.outputs))
    # where K is 0, factors have no memory and are not read; but the driver may want a place
    factors = [each if each.address else replace(each, address=out.address // 16 * 16) for each in (a, b)]
    maps = [each.tensor_map(device, box, read) for each, box in zip(factors, (a_box, b_box), strict=True)]
    for address in (out.address, pre):
        result = replace(out, address=address)
        used = address and made.stream.whole and result.can_be_written(written)
        maps.append(result.tensor_map(device, out_box, written) if used else maps[0])
    return tuple(maps)


def partial_bytes(made: GemmPlan, shape: Shape) -> int:
    """Return the size of the working memory for the parts of K."""
    if made.stream is not None:
        return made.stream.partial_bytes
    return 4 * made.splits * shape.batch * shape.m * shape.n if made.splits > 1 else 0


def num_slabs(made: GemmPlan, shape: Shape) -> int:
    """Return the number of rows of column sums that a product writes."""
    return shape.batch * ceil_div(shape.m, made.slab)
