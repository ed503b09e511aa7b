"""Matrix products on a GPU, by our kernels: out = epilogue(a b + beta out + bias).

Shapes: a (M, K) or, transposed, (K, M); b (K, N) or (N, K); out (M, N); all with one more dimension in front for a
batch. Rows are contiguous, any distance apart; fp32. bias (N,).

Where the device's precision is bf16, the factors are rounded into working memory first, in rows of whole 16 bytes; so
they are in tf32 where gemm_wgmma multiplies, by ``launch_gemm``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.gemm import Shape
from ...kernels.gemm_launch import launch_gemm, num_slabs, partial_bytes
from ...kernels.kernel import kernel
from ...kernels.launch import launch
from ...kernels.matrices import Matrices
from ...kernels.plan import MOST_BLOCKS, PIECE, across_down, ceil_div
from ...kernels.planner import plan
from ...kernels.round_tf32 import PART_BYTES, rounded_bytes
from ..gradient import Gradient
from ..workspace import workspace
from .reduce import between_bytes, sum_slabs

_CAST = kernel("cast_bf16.cu", name="cast_rows")
_BF16_PIECE = 8  # elements in 16 bytes
MOST_MATRICES = MOST_BLOCKS[2]  # of one launch


def covers(*arrays: Any) -> bool:
    """Return whether the kernels cover these arrays: fp32, rows contiguous (a rank's part of a batch may be empty)."""
    return all(
        a.dtype == np.float32 and a.ndim in (2, 3) and (a.strides[-1] == 4 or a.shape[-1] <= 1 or not a.size)
        for a in arrays
    )


def multiply(
    a: Any,
    b: Any,
    out: Any,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    bias: Any = None,
    beta: float = 0.0,
    epilogue: str = "none",
    pre: Any = None,
    alpha: float = 1.0,
    sums: Gradient | None = None,
) -> None:
    """Write epilogue(alpha a b + beta out + bias) to ``out``.

    ``pre``, laid out as ``out``, is written by an activation and read by its gradient. The column sums of the result,
    over all matrices of a batch, are put to ``sums``.
    """
    device: Any = device_of(out)
    assert pre is None or pre.strides == out.strides, "the kernels take one distance between rows for both"
    if not out.size:
        if sums is not None and not sums.accumulate:
            sums.array.fill(0)
        return
    if out.ndim == 3 and len(out) > MOST_MATRICES:
        for first in range(0, len(out), MOST_MATRICES):
            part = slice(first, first + MOST_MATRICES)
            a_part, b_part, pre_part = (x[part] if x is not None and x.ndim == 3 else x for x in (a, b, pre))
            multiply(
                *(a_part, b_part, out[part]),
                transpose_a=transpose_a,
                transpose_b=transpose_b,
                bias=bias,
                beta=beta,
                epilogue=epilogue,
                pre=pre_part,
                alpha=alpha,
                sums=sums and sums._replace(accumulate=sums.accumulate or first > 0),
            )
        return
    shape = _shape(a, out, transpose_a, transpose_b, device.precision, epilogue)
    made = plan(shape, device.arch, device.num_processors)
    factors = _stored(a), _stored(b)
    slabs = num_slabs(made, shape) if sums is not None else 0
    sizes = [partial_bytes(made, shape), 4 * slabs * shape.n, between_bytes(slabs, shape.n, device.num_processors)]
    if device.precision == "bf16":
        partials, column_sums, between, *rounded = _parts(out, [*sizes, *map(_rounded_bytes, factors)])
        factors = _rounded(device, factors[0], rounded[0]), _rounded(device, factors[1], rounded[1])
    else:
        partials, column_sums, between, *rounded = _parts(out, [*sizes, rounded_bytes(made, shape, *factors)])
    launch_gemm(
        device,
        made,
        shape,
        *factors,
        _stored(out),
        bias=_address(bias),
        pre=_address(pre),
        column_sums=column_sums,
        partials=partials,
        rounded=rounded[0],
        alpha=alpha,
        beta=beta,
    )
    if sums is not None:
        sum_slabs(device, column_sums, slabs, shape.n, between, sums)


def _shape(a: Any, out: Any, transpose_a: bool, transpose_b: bool, inputs: str, epilogue: str) -> Shape:
    batch = out.shape[0] if out.ndim == 3 else 1
    depth = a.shape[-2] if transpose_a else a.shape[-1]
    m, n = out.shape[-2:]
    return Shape(m, n, depth, batch, transpose_a, transpose_b, inputs, epilogue=epilogue)


def _stored(array: Any) -> Matrices:
    apart = _apart(array)
    rows, cols = array.shape[-2:]
    return Matrices(array.data.ptr, rows, cols, _leading(array), array.shape[0] if apart else 1, apart)


def _rounded_bytes(factor: Matrices) -> int:
    return 2 * factor.matrices * factor.rows * ceil_div(factor.cols, _BF16_PIECE) * _BF16_PIECE


def _rounded(device: Any, factor: Matrices, address: int) -> Matrices:
    """Write ``factor`` in bf16 to ``address`` and return its description there."""
    ld = max(1, ceil_div(factor.cols, _BF16_PIECE)) * _BF16_PIECE
    apart = factor.rows * ld if factor.matrices > 1 else 0
    count = factor.matrices * factor.rows * factor.cols
    if count:
        numbers = (ld, factor.rows, factor.cols, factor.matrices)
        arguments = [np.array(x, np.uint64) for x in (factor.address, address)]
        arguments += [np.array(factor.apart, np.int64), np.array(factor.ld, np.int32)]
        arguments += [np.array(x, np.int32) for x in numbers]
        made = across_down(ld // PIECE, factor.rows, device.num_processors, factor.matrices)
        launch(device, _CAST, made, arguments)
    return Matrices(address, factor.rows, factor.cols, ld, factor.matrices, apart)


def _parts(out: Any, sizes: Sequence[int]) -> list[int]:
    """Return the addresses of workspace parts of ``sizes`` bytes; 0 for an empty part."""
    rounded = [ceil_div(size, PART_BYTES) * PART_BYTES for size in sizes]
    if not any(rounded):
        return [0] * len(sizes)
    first = workspace(out, "matmul", (sum(rounded) + PART_BYTES,), np.uint8).data.ptr
    first += -first % PART_BYTES
    return [first + sum(rounded[:i]) if size else 0 for i, size in enumerate(rounded)]


def _address(array: Any) -> int:
    return 0 if array is None else int(array.data.ptr)


def _leading(array: Any) -> int:
    return int(array.strides[-2]) // 4


def _apart(array: Any) -> int:
    return int(array.strides[0]) // 4 if array.ndim == 3 else 0
