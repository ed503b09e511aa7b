"""The record that all fused kernels of attention take by value: struct Attention of kernels/attention/attention.cuh."""

from typing import Any, NamedTuple

import numpy as np

from ..attention import Place
from ..dropout import Masks

PLACE = ("seed", "layer", "step", "first", "base", "sample_apart", "matrix_apart")
DROPOUT = np.dtype([*((name, np.int64) for name in PLACE), ("threshold", np.int32), ("columns", np.int32)])
"""struct Dropout."""

ARRAYS = ("q", "k", "v", "y", "dy", "dq", "dk", "dv")
POINTERS = (*ARRAYS, "log_sum_exp", "delta", "lengths", "segments", "counters")
SIZES = ("samples", "heads", "group", "queries", "keys", "size", "causal", "query", "key", "length")
ATTENTION = np.dtype(
    [
        *((name, np.uint64) for name in POINTERS),
        *((f"of_{name}", np.int64, (3,)) for name in ARRAYS),
        ("dropout", DROPOUT),
        *((name, np.int32) for name in SIZES),
        ("scale", np.float32),
        ("unused", np.int32),
    ]
)
"""struct Attention: addresses (0 where a kernel does not look), strides in elements of (sample, head, token)."""
assert (DROPOUT.itemsize, ATTENTION.itemsize) == (64, 408), "the layouts of the structs"


class Mask(NamedTuple):
    """The keys that a query sees, and the probabilities that are dropped (``ops/attention.py``)."""

    causal: bool
    lengths: Any
    segments: Any
    dropout: Masks | None
    place: Place


def attention_record(scale: float, mask: Mask, q: Any, k: Any, log_sum_exp: Any, **arrays: Any) -> np.ndarray:
    """Return the record for q (N, H, S, D), k (N, Hk, T, D), and other arrays by the names of their fields."""
    record = np.zeros((), ATTENTION)
    masks, place = mask.dropout, mask.place
    pointers = {"q": q, "k": k, "log_sum_exp": log_sum_exp, "lengths": mask.lengths, "segments": mask.segments}
    pointers |= arrays | ({} if masks is None else {"counters": masks.counters})
    for name, array in pointers.items():
        if array is None:
            continue
        record[name] = address_of(array)
        if name in ARRAYS:
            record[f"of_{name}"] = [stride // array.itemsize for stride in array.strides[:3]]
    heads = q.shape[1] // max(1, k.shape[1])
    sizes = *q.shape[:2], heads, q.shape[2], k.shape[2], q.shape[3], mask.causal
    for name, number in zip(SIZES, (*sizes, place.query, place.key, place.length), strict=True):
        record[name] = number
    record["scale"] = scale
    if masks is not None:
        apart = place.first_row, place.sample_apart, place.head_apart
        record["dropout"] = *masks.position, *apart, masks.threshold, place.length
    return record


def address_of(array: Any) -> int:
    """Return the address of an array of a device, or of NumPy."""
    return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)
