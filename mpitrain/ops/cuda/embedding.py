"""Lookup of table rows on a GPU: one launch forward, two or three backward."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from ...kernels.launch import launch
from ...kernels.plan import Launch, ceil_div
from .. import embedding as ops
from ..workspace import workspace
from .elements import bf16_of, element_kernel, elements_fit, is_bf16
from .launch import run, values

FORWARD = kernel("embedding.cu", name="embedding_forward")
DW = element_kernel("embedding.cu", name="embedding_dw")
FORWARD_BF16 = kernel("embedding.cu", {"ELEMENT_BF16": 1, "TABLE_BF16": 1}, name="embedding_forward")
ORDER, MERGE = (kernel("embedding.cu", name=f"embedding_{name}") for name in ("order", "merge"))
ROW_THREADS = 128
ORDER_LANES = 4  # threads that find the place of one id
MOST_ROWS = 2**31 - 2  # of a table whose gradient the kernels add up: they compare ids in 32 bits
PART = 64  # rows of equal id that a block adds up


@ops.check_ids.cuda
def check_ids(ids: Any, num_rows: int) -> None:
    """Do nothing: the kernels check for themselves."""


@ops.embedding.cuda
def embedding(ids: Any, w: Any, y: Any) -> bool:
    """Write the rows; an id outside of the table gives NaN."""
    if not (elements_fit(y) and elements_fit(w)):
        return False
    if is_bf16(y):
        _row_by_row(y, FORWARD_BF16, _long(ids), bf16_of(w, "table"), y, w.shape[1], _count(w))
    elif w.dtype == np.float32:
        _row_by_row(y, FORWARD, _long(ids), w, y, w.shape[1], _count(w))
    else:
        return False
    return True


@ops.embedding_dw.cuda
def embedding_dw(ids: Any, dy: Any, dw: Any) -> bool:
    """Add the rows of equal ids, in their order."""
    if not elements_fit(dy) or dw.dtype != np.float32 or len(dw) >= MOST_ROWS:
        return False
    ids, (order, starts) = _long(ids), workspace(dy, "order", (2, *ids.shape), np.int32)
    parts = ceil_div(len(ids), PART)
    partials = workspace(dy, "parts of rows", (2 * parts, dy.shape[1]), np.float32)
    run(device_of(dy), ORDER, ORDER_LANES * len(ids), (ids, order, starts, len(ids)))
    _row_by_row(dy, DW.of(dy), ids, order, starts, dy, dw, partials, *dy.shape, _count(dw))
    if parts > 1:
        _row_by_row(dy, MERGE, ids, order, starts, dw, partials, *dy.shape, _count(dw), blocks=parts)
    return True


def _row_by_row(rows: Any, kernel: Any, *arguments: Any, blocks: int = 0) -> None:
    if rows.size:
        plan = Launch((blocks or len(rows), 1, 1), (ROW_THREADS, 1, 1))
        launch(device_of(rows), kernel, plan, values(arguments))


def _long(ids: Any) -> Any:
    return ids.astype(np.int64, copy=False)


def _count(table: Any) -> np.ndarray:
    return np.array(len(table), np.int64)
