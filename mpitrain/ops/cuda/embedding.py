"""Rows of a table on a GPU, and its gradient: one launch forward, two backward."""

from typing import Any

import numpy as np

from ...device import device_of
from ...kernels.kernel import kernel
from ...kernels.launch import launch
from ...kernels.plan import Launch
from .. import embedding as ops
from .launch import run, values

FORWARD, ORDER, DW = (kernel("embedding.cu", name=f"embedding_{name}") for name in ("forward", "order", "dw"))
ROW_THREADS = 128


@ops.check_ids.cuda
def check_ids(ids: Any, num_rows: int) -> None:
    """Nothing: the kernels look for themselves."""


@ops.embedding.cuda
def embedding(ids: Any, table: Any, y: Any) -> bool:
    """Write the rows; an id that names none gives NaN."""
    if y.dtype != np.float32 or table.dtype != np.float32:
        return False
    _row_by_row(y, FORWARD, _long(ids), table, y, table.shape[1], _count(table))
    return True


@ops.embedding_dw.cuda
def embedding_dw(ids: Any, dy: Any, dtable: Any, buffer: Any) -> bool:
    """Add the rows of equal ids, in their order."""
    if dy.dtype != np.float32 or dtable.dtype != np.float32:
        return False
    ids, order = _long(ids), buffer("order", ids.shape, np.int32)
    run(device_of(dy), ORDER, len(ids), (ids, order, len(ids)))
    _row_by_row(dy, DW, ids, order, dy, dtable, *dy.shape, _count(dtable))
    return True


def _row_by_row(rows: Any, kernel: Any, *arguments: Any) -> None:
    if rows.size:
        launch(device_of(rows), kernel, Launch((len(rows), 1, 1), (ROW_THREADS, 1, 1)), values(arguments))


def _long(ids: Any) -> Any:
    return ids.astype(np.int64, copy=False)


def _count(table: Any) -> np.ndarray:
    return np.array(len(table), np.int64)
