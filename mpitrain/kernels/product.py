"""Launch a planned product: the record that every gemm kernel takes, and tensor maps before it where it wants them."""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..device import TensorMap
from .gemm import RECORD, GemmPlan, Shape
from .launch import launch

_PACK = struct.Struct("8Q4q10i2f")
assert _PACK.size == RECORD.itemsize, "the fields of RECORD"


@dataclass(frozen=True)
class Matrices:
    """A, B or out as it lies in memory: matrices of (rows, cols), rows ``ld`` elements apart, matrices ``apart``."""

    address: int
    rows: int
    cols: int
    ld: int
    matrices: int = 1
    apart: int = 0

    def tensor_map(self, device: Any, box: tuple[int, int]) -> np.ndarray:
        """Return the argument that tells the copy engine of these matrices in bf16."""
        size = max(1, self.cols), max(1, self.rows), self.matrices
        return device.tensor_map(TensorMap(self.address, 2, size, 2 * self.ld, 2 * size[1] * self.ld, box))


def launch_product(
    device: Any,
    made: GemmPlan,
    shape: Shape,
    a: Matrices,
    b: Matrices,
    out: Matrices,
    *,
    bias: int = 0,
    pre: int = 0,
    partials: int = 0,
    alpha: float = 1.0,
    beta: float = 0.0,
) -> None:
    """Launch ``made``, the plan of ``shape``: out = epilogue(alpha A B + beta out + bias); the last are addresses."""
    record = _PACK.pack(
        *(a.address, b.address, out.address, bias, out.address, pre, 0, partials),
        *(a.apart, b.apart, out.apart, out.apart),
        *(a.ld, b.ld, out.ld, out.ld),
        *(shape.m, shape.n, shape.k, shape.batch, made.splits, made.k_split),
        *(alpha, beta),
    )
    argument = np.frombuffer(record, RECORD).reshape(())
    maps: tuple[np.ndarray, ...] = ()
    if made.boxes is not None:
        maps = tuple(factor.tensor_map(device, box) for factor, box in zip((a, b), made.boxes, strict=True))
    launch(device, made.kernel, made.launch, (*maps, argument))
    if made.sum_kernel is not None and made.sum_launch is not None:
        launch(device, made.sum_kernel, made.sum_launch, (argument,))


def partial_bytes(made: GemmPlan, shape: Shape) -> int:
    """Return the size of the working memory in which the parts of K are kept until they are summed."""
    return 4 * made.splits * shape.batch * shape.m * shape.n if made.splits > 1 else 0
