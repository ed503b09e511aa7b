"""Convolution on a GPU: products whose factor is gathered from images while they are multiplied (implicit GEMM).

Shapes: x (N, H, W, C), w (KH, KW, C/G, O), b (O,), y (N, OH, OW, O), all C-contiguous; images and their gradients fp32
or bf16, of one type; dw and b fp32. Sums are fp32.

A 1 x 1 convolution without stride and padding is a product of matrices (matmul.py). In fp32 memory, convolutions are
multiplied as tf32 where the device's precision is tf32 or bf16.
"""

from typing import Any, NamedTuple

import numpy as np

from ...device import device_of
from ...kernels.convolution import Convolution
from ...kernels.convolution_launch import Operands, launch_convolution, partial_bytes
from ...kernels.convolution_plan import ConvolutionPlan, plan_convolution
from .. import conv2d as ops
from ..reduce import column_sum
from ..workspace import Keep, workspace
from . import conv2d_depthwise as depthwise
from .batchnorm import merged_slabs, slabs_memory
from .conv2d_columns import Columns, columns_of
from .elements import bf16_of, elements_fit, is_bf16

IMPLICIT = True  # False: columns in memory, the reference
LEAST_SLAB = 32  # pixels, below which moments cost more than a pass: with the 16 of wgmma (decision 56)
CHUNK_BYTES = 16  # of an asynchronous copy


@ops.conv2d_db.cuda
def conv2d_db(dy: Any, db: Any, accumulate: bool) -> None:
    """The column sums of a linear map of pixels."""
    column_sum(dy.reshape(-1, dy.shape[3]), db, accumulate)


@ops.conv2d.cuda
def conv2d(x: Any, w: Any, b: Any, y: Any, plan: ops.Conv2dPlan) -> bool:
    """One launch, with the bias in its epilogue."""
    if is_bf16(y):
        x = bf16_of(x, "images")  # samples that are fp32 still
    if depthwise.covers(plan, w, x, y):
        depthwise.forward(x, w, b, y, plan.forward_plan.window)
        return True
    columns = columns_of(plan)
    if _gathers(columns) and _convolve("forward", x, w, y, x.shape, w, plan, bias=b):
        return True
    if not elements_fit(x, y):
        return False
    columns.forward(x, w, b, y)
    return True


@ops.conv2d_moments.cuda
def conv2d_moments(x: Any, w: Any, b: Any, y: Any, plan: ops.Conv2dPlan, keep: Keep) -> Any:
    """The launch of ``conv2d``, whose epilogue has y in registers, and one that merges moments where they are many.

    Where that does not pay or is not covered, ``conv2d`` runs: the NumPy function would have fp32 copies of bf16.
    """
    if is_bf16(y):
        x = bf16_of(x, "images")
    planned = None
    if y.size and IMPLICIT and not depthwise.covers(plan, w, x, y) and not _multiplies(plan, y):
        planned = _planned("forward", x, w, y, x.shape, w, plan, b, moments=True)
    if planned is None or planned.made.slab < LEAST_SLAB:
        ops.conv2d(x, w, b, y, plan)
        return None
    slab = planned.made.slab
    slabs = slabs_memory(y, slab, keep)
    _launch(planned, y, b, column_sums=int(slabs.data.ptr))
    return merged_slabs(slabs, y.size // y.shape[3], slab, keep)


def _multiplies(plan: ops.Conv2dPlan, y: Any) -> bool:
    """Return whether this is a product of matrices that gemm_wgmma takes, which writes no moments."""
    device: Any = device_of(y)
    by_wgmma = device.arch == "sm_90a" and (is_bf16(y) or device.precision != "fp32")
    return bool(by_wgmma and columns_of(plan).is_direct)


@ops.conv2d_dw.cuda
def conv2d_dw(x: Any, dy: Any, dw: Any, plan: ops.Conv2dPlan, accumulate: bool) -> bool:
    """One launch over parts of all pixels, and one that adds the parts in order."""
    if is_bf16(dy):
        x = bf16_of(x, "images")
    if depthwise.covers(plan, dw, x, dy):
        depthwise.dw(x, dy, dw, plan.forward_plan.window, accumulate)
        return True
    columns = columns_of(plan)
    if _gathers(columns) and _convolve("dw", x, dy, dw, x.shape, dw, plan, beta=1.0 if accumulate else 0.0):
        return True
    if not elements_fit(x, dy) or dw.dtype != np.float32:
        return False
    columns.dw(x, dy, dw, accumulate)
    return True


@ops.conv2d_dx.cuda
def conv2d_dx(dy: Any, w: Any, dx: Any, plan: ops.Conv2dPlan) -> bool:
    """One launch over the classes of pixels that the same taps reach; for strides above 2, several."""
    if depthwise.covers(plan, w, dy, dx):
        depthwise.dx(dy, w, dx, plan.forward_plan.window)
        return True
    columns = columns_of(plan)
    if _gathers(columns) and _convolve("dx", dy, w, dx, dx.shape, w, plan):
        return True
    if not elements_fit(dy, dx):
        return False
    columns.dx(dy, w, dx)
    return True


def _gathers(columns: Columns) -> bool:
    """Return whether pixels are gathered in the product: not for 1 x 1 windows without a stride, which are one."""
    return IMPLICIT and not columns.is_direct


def _convolve(
    kind: str,
    a: Any,
    b: Any,
    out: Any,
    images: tuple[int, ...],
    w: Any,
    plan: ops.Conv2dPlan,
    bias: Any = None,
    beta: float = 0.0,
) -> bool:
    """Launch one product of gathered images; False if the kernels do not cover it.

    Parameters
    ----------
    images : (N, H, W, C)
        The shape of x.
    w : array
        The weights, or their gradient: its shape counts.
    """
    if not out.size:
        return True
    if not a.size or not b.size:  # a rank without images
        if beta == 0:
            out.fill(0)
        return True
    planned = _planned(kind, a, b, out, images, w, plan, bias)
    if planned is None:
        return False
    _launch(planned, out, bias, beta)
    return True


class _Planned(NamedTuple):
    """A convolution with its launches and the addresses of its factors."""

    conv: Convolution
    made: ConvolutionPlan
    a: int
    b: int


def _planned(
    kind: str,
    a: Any,
    b: Any,
    out: Any,
    images: tuple[int, ...],
    w: Any,
    plan: ops.Conv2dPlan,
    bias: Any,
    moments: bool = False,
) -> _Planned | None:
    """Return the launches of one product (see ``_convolve``), which may write moments; None if it is not covered."""
    device: Any = device_of(out)
    window, wide = plan.forward_plan.window, device.precision == "fp32"
    conv = Convolution(
        kind,
        images[0],
        (images[1], images[2]),
        images[3],
        w.shape[3],
        *(window.kernel, window.stride, window.padding, window.dilation),
        groups=plan.groups,
        inputs="bf16" if is_bf16(a) else "fp32" if wide else "tf32",
        outputs="bf16" if is_bf16(out) else "fp32",
    )
    if is_bf16(a) and kind != "dw":
        b = bf16_of(b, "filters")
    if not _fit(kind, a, b, out, bias):
        return None
    of_a, of_b = int(a.data.ptr), int(b.data.ptr)
    copied = kind == "dx" or is_bf16(a)  # the other factor too in chunks, or by the copy engine
    addresses = [of_a, *([of_b] if copied else []), *([int(out.data.ptr)] if is_bf16(out) else [])]
    odd = any(address % CHUNK_BYTES for address in addresses)
    made = plan_convolution(conv, device.arch, device.num_processors, odd, moments)
    return None if made is None else _Planned(conv, made, of_a, of_b)


def _launch(planned: _Planned, out: Any, bias: Any, beta: float = 0.0, column_sums: int = 0) -> None:
    conv, made, of_a, of_b = planned
    partials = partial_bytes(made, conv)
    held = workspace(out, "convolution", (partials // 4,), np.float32).data.ptr if partials else 0
    pointer = 0 if bias is None else int(bias.data.ptr)
    addresses = {"bias": pointer, "column_sums": column_sums, "partials": int(held)}
    launch_convolution(device_of(out), made, conv, Operands(of_a, of_b, int(out.data.ptr), **addresses, beta=beta))


def _fit(kind: str, a: Any, b: Any, out: Any, bias: Any) -> bool:
    """Return whether arrays are of types and layouts that the kernels take."""
    if not elements_fit(a, b) or not out.flags.c_contiguous or (bias is not None and bias.dtype != np.float32):
        return False
    return bool(out.dtype == np.float32) if kind == "dw" else elements_fit(a, out)
