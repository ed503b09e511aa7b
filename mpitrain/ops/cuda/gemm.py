"""Matrix products on a GPU, by our kernels: out = epilogue(a b + beta out + bias).

Shapes: a (M, K) or, transposed, (K, M); b (K, N) or (N, K); out (M, N); all with one more dimension in front for a
batch. Rows are contiguous, any distance apart; fp32. bias (N,).
"""

import struct
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ...device import device_of
from ...kernels.gemm import RECORD, Shape
from ...kernels.launch import launch
from ...kernels.planner import plan

_PACK = struct.Struct("8Q4q10i2f")
assert _PACK.size == RECORD.itemsize, "the fields of RECORD"
_WORKSPACES: "WeakKeyDictionary[Any, Any]" = WeakKeyDictionary()


def covers(*arrays: Any) -> bool:
    """Return whether the kernels take these arrays: fp32, rows contiguous."""
    return all(
        a.dtype == np.float32 and a.ndim in (2, 3) and (a.strides[-1] == 4 or a.shape[-1] <= 1) and a.size
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
    partials = 0
    if made.splits > 1:
        partials = workspace(device, 4 * made.splits * shape.batch * m * n).data.ptr
    record = _PACK.pack(
        *(a.data.ptr, b.data.ptr, out.data.ptr, _address(bias), out.data.ptr, _address(pre), 0, partials),
        *(_apart(a), _apart(b), _apart(out), _apart(out)),
        *(_leading(a), _leading(b), _leading(out), _leading(out)),
        *(m, n, shape.k, shape.batch, made.splits, made.k_split),
        *(alpha, beta),
    )
    arguments = (np.frombuffer(record, RECORD).reshape(()),)
    launch(device, made.kernel, made.launch, arguments)
    if made.sum_kernel is not None and made.sum_launch is not None:
        launch(device, made.sum_kernel, made.sum_launch, arguments)


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
