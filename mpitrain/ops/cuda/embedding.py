"""Lookup of table rows on a GPU: one launch forward, two backward."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from ...kernels.launch import launch
from ...kernels.plan import Launch
from .. import embedding as ops
from ..workspace import workspace
from .elements import bf16_of, element_kernel, elements_fit, is_bf16
from .launch import run, values

FORWARD = kernel("embedding.cu", name="embedding_forward")
DW = element_kernel("embedding.cu", name="embedding_dw")
FORWARD_BF16 = kernel("embedding.cu", {"ELEMENT_BF16": 1, "TABLE_BF16": 1}, name="embedding_forward")
ORDER = kernel("embedding.cu", name="embedding_order")
ROW_THREADS = 128


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
    if not elements_fit(dy) or dw.dtype != np.float32:
        return False
    ids, order = _long(ids), workspace(dy, "order", ids.shape, np.int32)
    run(device_of(dy), ORDER, len(ids), (ids, order, len(ids)))
    _row_by_row(dy, DW.of(dy), ids, order, dy, dw, *dy.shape, _count(dw))
    return True


def _row_by_row(rows: Any, kernel: Any, *arguments: Any) -> None:
    if rows.size:
        launch(device_of(rows), kernel, Launch((len(rows), 1, 1), (ROW_THREADS, 1, 1)), values(arguments))


def _long(ids: Any) -> Any:
    return ids.astype(np.int64, copy=False)


def _count(table: Any) -> np.ndarray:
    return np.array(len(table), np.int64)
