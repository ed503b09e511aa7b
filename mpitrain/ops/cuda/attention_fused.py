"""Attention on a GPU without scores in memory: kernels that multiply and sum in one pass (``kernels/attention_*.cu``).

Shapes: as in ``ops/attention.py``; all arrays fp32 or all bf16, numbers of a head contiguous. Statistics are fp32.

Which kernels there are for a device, a type and a size of heads, ``kernels/attention.py`` knows. In fp32 there are only
those of few queries, for generation: the others multiply in tf32 or bf16.
"""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels import attention as kernels
from ...kernels.launch import launch
from ...kernels.plan import Launch, across_down, ceil_div
from ..workspace import workspace
from . import attention_wgmma as hopper
from .attention_record import Mask, attention_record
from .elements import element_kernel, is_bf16
from .launch import spread, values

DELTA = element_kernel("attention_delta.cu")
DELTA_LANES = 8
MOST_APART = 2**31 - 1  # elements between tokens: kernels count them in 32 bits


def forward(q: Any, k: Any, v: Any, y: Any, log_sum_exp: Any, scale: float, mask: Mask) -> bool:
    """Write y and log_sum_exp; False, and nothing is written, where no kernel covers these arrays."""
    if not _covers(scale, log_sum_exp, q, k, v, y):
        return False
    if q.shape[2] <= kernels.FEW and mask.dropout is None:
        _decode(q, k, v, y, log_sum_exp, scale, mask)
        return True
    record = attention_record(scale, mask, q, k, log_sum_exp, v=v, y=y)
    if hopper.takes(mask, q, k, v, y):
        hopper.attend(record, q, k, v)
        return True
    chosen = _choose(kernels.FORWARD_KERNELS, q, mask)
    if chosen is None:
        return False
    _launch(chosen, q.shape[2], log_sum_exp.size // q.shape[2], record, q)
    return True


def backward(
    dy: Any,
    q: Any,
    k: Any,
    v: Any,
    log_sum_exp: Any,
    dq: Any,
    dk: Any,
    dv: Any,
    scale: float,
    mask: Mask,
    delta: Any,
    y: Any,
) -> bool:
    """Write dq, dk and dv: two passes over the scores, one for queries and one for keys, with sums in a fixed order."""
    if not _covers(scale, log_sum_exp, q, k, v, dy, dq, dk, dv):
        return False
    on_hopper = hopper.takes(mask, q, k, v, dy, dq, dk, dv)
    of_queries, of_keys = (_choose(each, q, mask) for each in (kernels.DQ_KERNELS, kernels.DKDV_KERNELS))
    if not on_hopper and (of_queries is None or of_keys is None):
        return False
    if delta is None:
        delta = _delta(dy, q, k, v, log_sum_exp, scale, mask, y)
    arrays = {"v": v, "dy": dy, "dq": dq, "dk": dk, "dv": dv, "delta": delta}
    record = attention_record(scale, mask, q, k, log_sum_exp, **arrays)
    if on_hopper or of_queries is None or of_keys is None:
        hopper.attend_dx(record, dy, q, k, v)
        return True
    (samples, heads, num_queries), (kv_heads, num_keys) = log_sum_exp.shape, k.shape[1:3]
    ahead = mask.place.key % kernels.TICK if mask.dropout is not None else 0
    _launch(of_queries, num_queries, samples * heads, record, q)
    _launch(of_keys, num_keys + ahead, samples * kv_heads, record, q)
    return True


def _decode(q: Any, k: Any, v: Any, y: Any, log_sum_exp: Any, scale: float, mask: Mask) -> None:
    """Attention of few queries: keys and values are read once, in parts where heads are too few for a whole GPU."""
    device: Any = device_of(q)
    (samples, heads, num_queries, size), (kv_heads, num_keys) = q.shape, k.shape[1:3]
    rows, matrices = heads // kv_heads * num_queries, samples * kv_heads
    plan = kernels.decoding(rows, matrices, num_keys, size, is_bf16(q), device.num_processors)
    partials = None
    if plan.parts > 1:
        partials = workspace(log_sum_exp, "parts of attention", (plan.parts, log_sum_exp.size, size + 1))
    record = attention_record(scale, mask, q, k, log_sum_exp, v=v, y=y)
    arguments = values((record, partials, plan.parts, plan.keys_of_part))
    launch(device, plan.decode, Launch((plan.blocks, 1, 1), (kernels.DECODE_THREADS, 1, 1)), arguments)
    if plan.parts > 1:
        spread(device, plan.merge, size, heads * num_queries, (record, partials, plan.parts), layers=samples)


def _delta(dy: Any, q: Any, k: Any, v: Any, log_sum_exp: Any, scale: float, mask: Mask, y: Any) -> Any:
    """Return the sums of y dy in working memory; y is computed again where it is not given."""
    device: Any = device_of(q)
    own, more = log_sum_exp, None
    if y is None or y.dtype != q.dtype:
        n, heads, num_queries, size = q.shape
        y = workspace(q, "y of attention", (n, num_queries, heads, size)).swapaxes(1, 2)
        own, more = workspace(log_sum_exp, "log of attention", log_sum_exp.shape), log_sum_exp
        forward(q, k, v, y, own, scale, mask)
    delta = workspace(log_sum_exp, "delta", log_sum_exp.shape)
    record = attention_record(scale, mask, q, k, own, y=y, dy=dy, delta=delta)
    samples, heads, num_queries = delta.shape
    across = ceil_div(DELTA_LANES * heads, 32) * 32
    plan = across_down(across, num_queries, device.num_processors, samples)
    launch(device, DELTA.of(q), plan, values((record, more)))
    return delta


def _covers(scale: float, log_sum_exp: Any, *arrays: Any) -> bool:
    """Return whether kernels may read and write these arrays: one type, heads contiguous, something to do."""
    dtype, size = arrays[0].dtype, arrays[0].shape[3]
    if not scale > 0 or not 1 <= size <= kernels.HEADS[-1] or not log_sum_exp.size:
        return False
    return all(
        x.dtype == dtype
        and (x.strides[3] == x.itemsize or size == 1)
        and all(0 <= apart // x.itemsize <= MOST_APART for apart in x.strides[2:3])
        for x in arrays
    )


def _choose(families: Any, q: Any, mask: Mask) -> kernels.Chosen | None:
    device: Any = device_of(q)
    if not is_bf16(q) and device.precision == "fp32":
        return None
    return kernels.choose(families, device.arch, q.shape[3], is_bf16(q), mask.dropout is not None)


def _launch(chosen: kernels.Chosen, rows: int, matrices: int, record: np.ndarray, like: Any) -> None:
    launch(device_of(like), chosen.kernel, chosen.tile.launch(rows, matrices), [record])
