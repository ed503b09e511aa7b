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
from ...kernels.plan import ceil_div
from .. import conv2d as ops
from ..elementwise import add, relu_dx
from ..gradient import Gradient
from ..reduce import column_sum
from ..workspace import Keep, workspace
from . import conv2d_depthwise as depthwise
from .batchnorm import merged_slabs, slabs_memory
from .conv2d_columns import Columns, columns_of
from .elements import bf16_of, elements_fit, fitting, is_bf16
from .reduce import between_bytes, mask_and_sum, sum_slabs

IMPLICIT = True  # False: columns in memory, the reference
LEAST_SLAB = 32  # pixels, below which moments cost more than a pass
CHUNK_BYTES = 16  # of an asynchronous copy


@ops.conv2d_db.cuda
def conv2d_db(dy: Any, db: Any, accumulate: bool) -> None:
    """The column sums of a linear map of pixels."""
    column_sum(dy.reshape(-1, dy.shape[3]), db, accumulate)


@ops.conv2d.cuda
def conv2d(x: Any, w: Any, b: Any, y: Any, plan: ops.Conv2dPlan) -> bool:
    """One launch, with the bias in its epilogue."""
    x = fitting(x, y, "images")  # samples may be fp32 still
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
    x = fitting(x, y, "images")
    planned = None
    if y.size and IMPLICIT and not depthwise.covers(plan, w, x, y):
        planned = _planned("forward", x, w, y, x.shape, w, plan, b, moments=True)
    if planned is None or planned.made.slab < LEAST_SLAB or _multiplies(planned, plan, y):
        ops.conv2d(x, w, b, y, plan)
        return None
    slab = planned.made.slab
    slabs = slabs_memory(y, slab, keep)
    _launch(planned, y, bias=b, column_sums=slabs)
    return merged_slabs(slabs, y.size // y.shape[3], slab, keep)


def _multiplies(planned: "_Planned", plan: ops.Conv2dPlan, y: Any) -> bool:
    """Return whether this is a product that gemm_wgmma takes, without moments, and conv2d_wgmma does not."""
    device: Any = device_of(y)
    by_wgmma = device.arch == "sm_90a" and (is_bf16(y) or device.precision != "fp32")
    return bool(by_wgmma and columns_of(plan).is_direct and not planned.made.tile.is_persistent)


@ops.conv2d_add_relu.cuda
def conv2d_add_relu(x: Any, w: Any, b: Any, residual: Any, y: Any, plan: ops.Conv2dPlan, has_relu: bool) -> None:
    """One launch, with all of it in its epilogue; what is not covered there is an element-wise pass over y."""
    if is_bf16(y):
        x = bf16_of(x, "images")
    epilogue, columns = "relu" if has_relu else "none", columns_of(plan)
    one_type = elements_fit(x, y) and (residual is None or elements_fit(y, residual))
    if one_type and not depthwise.covers(plan, w, x, y):
        tail = {"bias": b, "beta": 0.0 if residual is None else 1.0, "added": residual, "epilogue": epilogue}
        if _gathers(columns) and _convolve("forward", x, w, y, x.shape, w, plan, **tail):
            return
        if columns.is_direct:
            columns.forward(x, w, b, y, residual, epilogue)
            return
    ops.conv2d(x, w, b, y, plan)
    ops.finish(y, residual, has_relu)


@ops.conv2d_dx_add.cuda
def conv2d_dx_add(dy: Any, w: Any, added: Any, dx: Any, plan: ops.Conv2dPlan) -> None:
    """One launch, whose epilogue reads what is added; for depthwise convolutions a pass more."""
    columns = columns_of(plan)
    if dx.size and elements_fit(dy, dx, added) and not depthwise.covers(plan, w, dy, dx):
        if columns.is_direct:
            columns.dx(dy, w, dx, added=added)
            return
        if _gathers(columns) and _convolve("dx", dy, w, dx, dx.shape, w, plan, beta=1.0, added=added):
            return
    ops.conv2d_dx(dy, w, dx, plan)
    add(dx, added, dx)


@ops.conv2d_dx_relu.cuda
def conv2d_dx_relu(dy: Any, w: Any, x: Any, dx: Any, db: Gradient | None, plan: ops.Conv2dPlan) -> None:
    """One launch, whose epilogue reads x and leaves column sums of slabs, and one or two that add these up.

    With a stride the sums are a pass of their own, since the rows of a launch are those of several classes; depthwise
    convolutions have no epilogue.
    """
    columns = columns_of(plan)
    covered = dx.size and elements_fit(dy, dx, x) and not depthwise.covers(plan, w, dy, dx)
    if covered and columns.is_direct:
        columns.dx(dy, w, dx, x, db)
        if db is not None:
            db.written()
        return
    if not (covered and _gathers(columns) and _convolve_through(dy, w, x, dx, db, plan)):
        ops.conv2d_dx(dy, w, dx, plan)
        ops.conv2d_db_relu(x, dx, db)


@ops.conv2d_db_relu.cuda
def conv2d_db_relu(y: Any, dy: Any, db: Gradient | None) -> None:
    """One pass, and where there are many rows one over the sums of their parts."""
    if db is None or not mask_and_sum(_rows(y), _rows(dy), db):
        relu_dx(y, dy, dy)
        if db is not None:
            ops.conv2d_db(dy, db.array, db.accumulate)
    if db is not None:
        db.written()


def _rows(images: Any) -> Any:
    return images.reshape(-1, images.shape[3])


@ops.conv2d_dw.cuda
def conv2d_dw(x: Any, dy: Any, dw: Any, plan: ops.Conv2dPlan, accumulate: bool) -> bool:
    """One launch over parts of all pixels, and one that adds the parts in order."""
    if is_bf16(dy) or is_bf16(x):
        x, dy = bf16_of(x, "images"), bf16_of(dy, "gradient")
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
    dy = fitting(dy, dx, "gradient")
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
    added: Any = None,
    epilogue: str = "none",
) -> bool:
    """Launch one product of gathered images; False if the kernels do not cover it.

    Parameters
    ----------
    images : (N, H, W, C)
        The shape of x.
    w : array
        The weights, or their gradient: its shape counts.
    added : array
        What beta multiplies, instead of what out holds.
    """
    if not out.size:
        return True
    if not a.size or not b.size:  # a rank without images
        if beta == 0:
            out.fill(0)
        return True
    planned = _planned(kind, a, b, out, images, w, plan, bias, epilogue=epilogue, added=added)
    if planned is None:
        return False
    _launch(planned, out, bias=bias, beta=beta, c=added)
    return True


def _convolve_through(dy: Any, w: Any, x: Any, dx: Any, db: Gradient | None, plan: ops.Conv2dPlan) -> bool:
    """Launch dx with the slope of the ReLU that gave ``x``, and the sums of ``db``; False if it is not covered."""
    planned = _planned("dx", dy, w, dx, dx.shape, w, plan, None, epilogue="relu_gradient") if dx.size else None
    if planned is None or not dy.size:
        return False
    conv, made = planned.conv, planned.made
    one_class = conv.groups == 1 and conv.stride == (1, 1)
    if db is None or not one_class:
        _launch(planned, dx, pre=x)
        if db is not None:
            ops.conv2d_db(dx, db.array, db.accumulate)
            db.written()
        return True
    device: Any = device_of(dx)
    channels, slabs = dx.shape[3], ceil_div(dx.size // dx.shape[3], made.slab)
    between = between_bytes(slabs, channels, device.num_processors) // 4
    held = workspace(dx, "bias gradient", (slabs * channels + between,), np.float32)
    _launch(planned, dx, pre=x, column_sums=held)
    first = int(held.data.ptr)
    sum_slabs(device, first, slabs, channels, first + 4 * slabs * channels, db)
    db.written()
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
    epilogue: str = "none",
    added: Any = None,
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
        epilogue=epilogue,
    )
    if is_bf16(a) and kind != "dw":
        b = bf16_of(b, "filters")
    if not _fit(kind, a, b, out, bias):
        return None
    of_a, of_b = int(a.data.ptr), int(b.data.ptr)
    copied = kind == "dx" or is_bf16(a)  # the other factor too in chunks, or by the copy engine
    written = [int(array.data.ptr) for array in (out, added) if array is not None and is_bf16(out)]
    odd = any(address % CHUNK_BYTES for address in (of_a, *([of_b] if copied else []), *written))
    made = plan_convolution(conv, device.arch, device.num_processors, odd, moments)
    return None if made is None else _Planned(conv, made, of_a, of_b)


def _launch(planned: _Planned, out: Any, *, beta: float = 0.0, **arrays: Any) -> None:
    """Launch what is planned; ``arrays`` are further fields of Operands, or None."""
    conv, made, of_a, of_b = planned
    partials = partial_bytes(made, conv)
    if partials:
        arrays["partials"] = workspace(out, "convolution", (partials // 4,), np.float32)
    addresses = {name: int(array.data.ptr) for name, array in arrays.items() if array is not None}
    launch_convolution(device_of(out), made, conv, Operands(of_a, of_b, int(out.data.ptr), **addresses, beta=beta))


def _fit(kind: str, a: Any, b: Any, out: Any, bias: Any) -> bool:
    """Return whether arrays are of types and layouts that the kernels take."""
    if not elements_fit(a, b) or not out.flags.c_contiguous or (bias is not None and bias.dtype != np.float32):
        return False
    return bool(out.dtype == np.float32) if kind == "dw" else elements_fit(a, out)
