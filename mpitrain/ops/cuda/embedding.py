"""Lookup of table rows on a GPU: one launch forward, two backward."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from ...kernels.launch import launch
from ...kernels.plan import Launch
from .. import embedding as ops
from ..workspace import workspace
from .elements import element_kernel, elements_fit
from .launch import run, values

FORWARD, DW = (element_kernel("embedding.cu", name=f"embedding_{name}") for name in ("forward", "dw"))
ORDER = kernel("embedding.cu", name="embedding_order")
ROW_THREADS = 128


@ops.check_ids.cuda
def check_ids(ids: Any, num_rows: int) -> None:
    """Do nothing: the kernels check for themselves."""


@ops.embedding.cuda
def embedding(ids: Any, w: Any, y: Any) -> bool:
    """Write the rows; an id outside of the table gives NaN."""
    if not elements_fit(y) or w.dtype != np.float32:
        return False
    _row_by_row(y, FORWARD.of(y), _long(ids), w, y, w.shape[1], _count(w))
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
