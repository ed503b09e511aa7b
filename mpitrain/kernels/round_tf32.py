"""Preparation of a tf32 product by wgmma: factors are rounded, and transposed so that k is contiguous."""

from typing import Any

import numpy as np

from .divide import divide_record
from .gemm import Shape
from .gemm_plan import GemmPlan
from .kernel import kernel
from .launch import launch
from .matrices import Matrices
from .plan import PIECE, Launch, across_down, ceil_div

ROWS, COLUMNS = (kernel("round_tf32.cu", name=name) for name in ("round_rows", "round_columns"))
TILE = 32  # rows and columns of a block of round_columns
PART_BYTES = 256  # parts of working memory begin at multiples of this


def rounds(made: GemmPlan, shape: Shape) -> bool:
    """Return whether the plan ``made`` of ``shape`` needs it."""
    return made.boxes is not None and shape.inputs == "tf32"


def rounded_bytes(made: GemmPlan, shape: Shape, a: Matrices, b: Matrices) -> int:
    """Return the size of its working memory."""
    return _bytes(a, shape.transpose_a) + _bytes(b, not shape.transpose_b) if rounds(made, shape) else 0


def round_factors(device: Any, shape: Shape, a: Matrices, b: Matrices, address: int) -> tuple[Matrices, Matrices]:
    """Write A as (M, K) and B as (N, K) to working memory at ``address``; return their descriptions there."""
    second = address + _bytes(a, shape.transpose_a)
    return _round(device, a, shape.transpose_a, address), _round(device, b, not shape.transpose_b, second)


def _round(device: Any, factor: Matrices, transpose: bool, address: int) -> Matrices:
    rows, cols, ld = _shape(factor, transpose)
    if factor.matrices * rows * cols:
        sizes = [np.array(size, np.int32) for size in (factor.ld, ld, factor.rows, factor.cols)]
        if transpose:
            across, down = ceil_div(factor.cols, TILE), ceil_div(factor.rows, TILE)
            plan = Launch((across * down * factor.matrices, 1, 1), (TILE, 8, 1))
            sizes += divide_record(across), divide_record(down)
        else:
            plan = across_down(ld // PIECE, rows, device.num_processors, factor.matrices)
            sizes += [np.array(factor.matrices, np.int32)]
        arguments = *(np.array(x, np.uint64) for x in (factor.address, address)), np.array(factor.apart, np.int64)
        launch(device, COLUMNS if transpose else ROWS, plan, (*arguments, *sizes))
    return Matrices(address, rows, cols, ld, factor.matrices, rows * ld if factor.matrices > 1 else 0)


def _bytes(factor: Matrices, transpose: bool) -> int:
    rows, _, ld = _shape(factor, transpose)
    return ceil_div(4 * factor.matrices * rows * ld, PART_BYTES) * PART_BYTES


def _shape(factor: Matrices, transpose: bool) -> tuple[int, int, int]:
    """Return rows, columns and the length of a row, a multiple of 16 bytes."""
    rows, cols = (factor.cols, factor.rows) if transpose else (factor.rows, factor.cols)
    return rows, cols, max(1, ceil_div(cols, PIECE)) * PIECE
