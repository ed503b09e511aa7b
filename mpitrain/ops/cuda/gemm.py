"""Matrix products on a GPU, by our kernels: out = epilogue(a b + beta out + bias).

Shapes: a (M, K) or, transposed, (K, M); b (K, N) or (N, K); out (M, N); all with one more dimension in front for a
batch. Rows are contiguous, any distance apart; fp32. bias (N,).

Where the device's precision is bf16, the factors are rounded into working memory first, in rows of whole 16 bytes; so
they are in tf32 where gemm_wgmma multiplies, by ``launch_product``.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ...device import device_of
from ...kernels.gemm import Shape
from ...kernels.kernel import kernel
from ...kernels.launch import launch
from ...kernels.matrices import Matrices
from ...kernels.plan import Launch, ceil_div
from ...kernels.planner import plan
from ...kernels.product import launch_product, partial_bytes
from ...kernels.rounding import PART_BYTES, rounded_bytes

_WORKSPACES: "WeakKeyDictionary[Any, Any]" = WeakKeyDictionary()
_CAST = kernel("cast.cu", name="cast_rows")
_BF16_PIECE = 8  # elements in 16 bytes


def covers(*arrays: Any) -> bool:
    """Return whether the kernels take these arrays: fp32, rows contiguous; a rank's part of a batch may be empty."""
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
) -> None:
    """Write the product to ``out``; with ``beta`` it is added to that many times what is there."""
    device: Any = device_of(out)
    m, n = out.shape[-2:]
    shape = Shape(
        m,
        n,
        a.shape[-2] if transpose_a else a.shape[-1],
        out.shape[0] if out.ndim == 3 else 1,
        transpose_a,
        transpose_b,
        device.precision,
        "fp32",
        epilogue,
    )
    if not out.size:
        return
    made = plan(shape, device.arch, device.num_processors)
    factors = _as_it_lies(a), _as_it_lies(b)
    partials = partial_bytes(made, shape)
    if device.precision == "bf16":
        addresses = _parts(device, (_rounded_bytes(factors[0]), _rounded_bytes(factors[1]), partials))
        factors = _rounded(device, factors[0], addresses[0]), _rounded(device, factors[1], addresses[1])
    else:
        addresses = _parts(device, (rounded_bytes(made, shape, *factors), partials))
    launch_product(
        device,
        made,
        shape,
        *factors,
        _as_it_lies(out),
        bias=_address(bias),
        pre=_address(pre),
        partials=addresses[-1],
        rounded=addresses[0],
        alpha=alpha,
        beta=beta,
    )


def _as_it_lies(array: Any) -> Matrices:
    apart = _apart(array)
    rows, cols = array.shape[-2:]
    return Matrices(array.data.ptr, rows, cols, _leading(array), array.shape[0] if apart else 1, apart)


def _rounded_bytes(factor: Matrices) -> int:
    return 2 * factor.matrices * factor.rows * ceil_div(factor.cols, _BF16_PIECE) * _BF16_PIECE


def _rounded(device: Any, factor: Matrices, address: int) -> Matrices:
    """Write ``factor`` in bf16 to ``address`` and return it as it lies there."""
    ld = max(1, ceil_div(factor.cols, _BF16_PIECE)) * _BF16_PIECE
    apart = factor.rows * ld if factor.matrices > 1 else 0
    count = factor.matrices * factor.rows * factor.cols
    if count:
        numbers = (ld, factor.rows, factor.cols, factor.matrices)
        arguments = [np.array(x, np.uint64) for x in (factor.address, address)]
        arguments += [np.array(factor.apart, np.int64), np.array(factor.ld, np.int32)]
        arguments += [np.array(x, np.int32) for x in numbers]
        launch(device, _CAST, Launch((ceil_div(count, 1024), 1, 1), (256, 1, 1)), arguments)
    return Matrices(address, factor.rows, factor.cols, ld, factor.matrices, apart)


def _parts(device: Any, sizes: Sequence[int]) -> list[int]:
    """Return the addresses of parts of the workspace of ``sizes`` bytes; 0 for a part of none."""
    rounded = [ceil_div(size, PART_BYTES) * PART_BYTES for size in sizes]
    if not any(rounded):
        return [0] * len(sizes)
    first = workspace(device, sum(rounded) + PART_BYTES).data.ptr
    first += -first % PART_BYTES
    return [first + sum(rounded[:i]) if size else 0 for i, size in enumerate(rounded)]


def workspace(device: Any, num_bytes: int) -> Any:
    """Return memory of the device for one op; the next op that asks gets the same, and grows it if need be.

    Ops run one after another on the compute stream, so the next begins to write when this one is done.
    """
    found = _WORKSPACES.get(device)
    if found is None or found.nbytes < num_bytes:
        found = _WORKSPACES[device] = device.empty((num_bytes,), np.uint8)
    return found


def _address(array: Any) -> int:
    return 0 if array is None else int(array.data.ptr)


def _leading(array: Any) -> int:
    return int(array.strides[-2]) // 4


def _apart(array: Any) -> int:
    return int(array.strides[0]) // 4 if array.ndim == 3 else 0
