"""Matrix products on a GPU, by our kernels: out = epilogue(a b + beta out + bias).

Shapes: a (M, K) or, transposed, (K, M); b (K, N) or (N, K); out (M, N); all with one more dimension in front for a
batch. Rows are contiguous, any distance apart; each is fp32 or bf16. bias (N,), fp32.

Where an array is bf16, or that is the device's precision, factors are multiplied in bf16. Weights, which are fp32, are
read from the arena's copy of them; any other fp32 factor is rounded into working memory first, in rows of whole 16
bytes. So are factors in tf32 where gemm_wgmma multiplies, by ``launch_gemm``; and factors in bf16 whose rows are no
whole 16 bytes are packed for it, since the copy engine reads no others.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ...device import device_of, is_bf16
from ...kernels.gemm import Shape
from ...kernels.gemm_launch import launch_gemm, num_slabs, partial_bytes
from ...kernels.kernel import Kernel, kernel
from ...kernels.launch import launch
from ...kernels.matrices import Matrices
from ...kernels.plan import MOST_BLOCKS, PIECE, across_down, ceil_div
from ...kernels.planner import plan
from ...kernels.round_tf32 import PART_BYTES, rounded_bytes
from ..gradient import Gradient
from ..workspace import workspace
from .reduce import between_bytes, sum_slabs

_CAST, _PACK = kernel("cast_bf16.cu", name="cast_rows"), kernel("cast_bf16.cu", name="pack_rows")
_BF16_PIECE = 8  # elements in 16 bytes
MOST_MATRICES = MOST_BLOCKS[2]  # of one launch


def covers(*arrays: Any) -> bool:
    """Return whether the kernels cover these arrays: fp32 or bf16, rows contiguous (a part of a batch may be empty)."""
    return all(
        (a.dtype == np.float32 or is_bf16(a))
        and a.ndim in (2, 3)
        and (a.strides[-1] == a.itemsize or a.shape[-1] <= 1 or not a.size)
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
    added: Any = None,
    epilogue: str = "none",
    pre: Any = None,
    alpha: float = 1.0,
    sums: Gradient | None = None,
) -> None:
    """Write epilogue(alpha a b + beta added + bias) to ``out``; ``added``, laid out as ``out``, is by default itself.

    ``pre``, laid out as ``out``, is written by an activation and read by its gradient. The column sums of the result,
    over all matrices of a batch, are put to ``sums``.
    """
    device: Any = device_of(out)
    assert all(x is None or x.strides == out.strides for x in (pre, added)), "they take one distance between rows"
    if not out.size:
        if sums is not None and not sums.accumulate:
            sums.array.fill(0)
        return
    if out.ndim == 3 and len(out) > MOST_MATRICES:
        for first in range(0, len(out), MOST_MATRICES):
            part = slice(first, first + MOST_MATRICES)
            four = a, b, pre, added
            a_part, b_part, pre_part, added_part = (x[part] if x is not None and x.ndim == 3 else x for x in four)
            multiply(
                *(a_part, b_part, out[part]),
                transpose_a=transpose_a,
                transpose_b=transpose_b,
                bias=bias,
                beta=beta,
                added=added_part,
                epilogue=epilogue,
                pre=pre_part,
                alpha=alpha,
                sums=sums and sums._replace(accumulate=sums.accumulate or first > 0),
            )
        return
    inputs = "bf16" if any(map(is_bf16, (a, b, out))) else device.precision
    shape = _shape(a, out, transpose_a, transpose_b, inputs, epilogue)
    made = plan(shape, device.arch, device.num_processors)
    factors = _stored(a), _stored(b)
    slabs = num_slabs(made, shape) if sums is not None else 0
    sizes = [partial_bytes(made, shape), 4 * slabs * shape.n, between_bytes(slabs, shape.n, device.num_processors)]
    if inputs == "bf16":
        sources = [_source(device, *each, made.boxes is not None) for each in zip((a, b), factors, strict=True)]
        partials, column_sums, between, *rounded = _parts(out, [*sizes, *(each.room for each in sources)])
        factors = _read(device, sources[0], rounded[0]), _read(device, sources[1], rounded[1])
    else:
        partials, column_sums, between, *rounded = _parts(out, [*sizes, rounded_bytes(made, shape, *factors)])
    launch_gemm(
        device,
        made,
        shape,
        *factors,
        _stored(out),
        bias=_address(bias),
        c=_address(added),
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
    outputs = "bf16" if is_bf16(out) else "fp32"
    return Shape(m, n, depth, batch, transpose_a, transpose_b, inputs, outputs, epilogue)


def _stored(array: Any) -> Matrices:
    apart = _apart(array)
    rows, cols = array.shape[-2:]
    return Matrices(array.data.ptr, rows, cols, _leading(array), array.shape[0] if apart else 1, apart)


class _Source(NamedTuple):
    """A factor of a product in bf16: where it lies, and how it is brought to working memory (None: it is not)."""

    factor: Matrices
    kernel: Kernel | None

    @property
    def room(self) -> int:
        """The bytes of working memory."""
        rows = self.factor.matrices * self.factor.rows if self.kernel is not None else 0
        return 2 * rows * ceil_div(self.factor.cols, _BF16_PIECE) * _BF16_PIECE


def _source(device: Any, array: Any, factor: Matrices, by_copy_engine: bool) -> _Source:
    if not is_bf16(array):
        copy = device.weight_copies.find(array)
        if copy is None:
            return _Source(factor, _CAST)
        factor = replace(factor, address=copy.address_of(factor.address))
    whole = factor.address % 16 == factor.ld % _BF16_PIECE == factor.apart % _BF16_PIECE == 0
    return _Source(factor, None if whole or not by_copy_engine else _PACK)


def _read(device: Any, source: _Source, address: int) -> Matrices:
    """Return the description of a factor in bf16, written to ``address`` where it has to be."""
    factor = source.factor
    if source.kernel is None:
        return factor
    ld = max(1, ceil_div(factor.cols, _BF16_PIECE)) * _BF16_PIECE
    apart = factor.rows * ld if factor.matrices > 1 else 0
    count = factor.matrices * factor.rows * factor.cols
    if count:
        numbers = (ld, factor.rows, factor.cols, factor.matrices)
        arguments = [np.array(x, np.uint64) for x in (factor.address, address)]
        arguments += [np.array(factor.apart, np.int64), np.array(factor.ld, np.int32)]
        arguments += [np.array(x, np.int32) for x in numbers]
        made = across_down(ld // PIECE, factor.rows, device.num_processors, factor.matrices)
        launch(device, source.kernel, made, arguments)
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
    return int(array.strides[-2]) // int(array.itemsize)


def _apart(array: Any) -> int:
    return int(array.strides[0]) // int(array.itemsize) if array.ndim == 3 else 0
