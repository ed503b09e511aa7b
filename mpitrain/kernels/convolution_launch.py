"""Launches of planned convolutions: the record that every kernel takes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..device import join_maps
from .convolution import Convolution, record_of
from .convolution_plan import ConvolutionPlan
from .gemm import PACKED, RECORD
from .launch import launch


@dataclass(frozen=True)
class Operands:
    """The addresses of a convolution's arrays: ``a`` is gathered (x, or dy for dx), ``b`` is w (or dy for dw).

    Attributes
    ----------
    c : int
        Laid out as out; read where beta is not 0: out itself, or a residual.
    pre : int
        Laid out as out; read where the epilogue is a gradient: of a ReLU, its result.
    column_sums : int
        (groups, slabs, N of a group) sums, or with COLUMN_MOMENTS (slabs, 2, N) moments.
    """

    a: int
    b: int
    out: int
    c: int = 0
    bias: int = 0
    pre: int = 0
    column_sums: int = 0
    partials: int = 0
    beta: float = 0.0


def launch_convolution(device: Any, made: ConvolutionPlan, conv: Convolution, operands: Operands) -> None:
    """Launch the plan ``made`` of ``conv``: out = epilogue(A B + beta c + bias)."""
    product = b""
    for number, (classes, planned) in enumerate(made.launches):
        product = gemm_record(made, conv, number, operands)
        maps = _maps(device, made, number, operands)
        launch(device, made.kernel, planned, (*maps, record_of(product, conv, classes)))
    if made.sum_kernel is not None and made.sum_launch is not None:
        launch(device, made.sum_kernel, made.sum_launch, (np.frombuffer(product, RECORD).reshape(()),))


def _maps(device: Any, made: ConvolutionPlan, number: int, operands: Operands) -> tuple[np.ndarray, ...]:
    """Return the tensor maps of a launch, if its kernel takes them."""
    if not made.parts:
        return ()
    arguments = made.parts[number].maps(made.tile, operands.a, operands.b, operands.out, operands.c or operands.out)
    return tuple(join_maps([device.tensor_map(planned) for planned in each]) for each in arguments)


def gemm_record(made: ConvolutionPlan, conv: Convolution, number: int, operands: Operands) -> bytes:
    """Return struct Gemm of launch ``number``."""
    shape, each = made.shape(conv, number), operands
    out_ld = conv.width * conv.groups
    return PACKED.pack(
        *(each.a, each.b, each.c or each.out, each.bias, each.out, each.pre, each.column_sums, each.partials),
        *(conv.depth, conv.num_outputs // conv.groups, conv.width, conv.width),
        *(0, conv.num_outputs, out_ld, out_ld),
        *(shape.m, shape.n, shape.k, conv.groups, made.splits, made.k_split),
        *(1.0, each.beta),
    )


def partial_bytes(made: ConvolutionPlan, conv: Convolution) -> int:
    """Return the size of the working memory for the parts of K."""
    shape = made.shape(conv)
    return 4 * made.splits * shape.batch * shape.m * shape.n if made.splits > 1 else 0
