"""Rows of a table.

Shapes: ids (M,) integer in [0, V); table, dtable (V, D); y, dy (M, D). Any M, also 0. ``buffer(name, shape)`` gives
memory for the time of the call.
"""

from typing import Any

import numpy as np

from ..errors import UserError
from .dispatch import op


@op
def check_ids(ids: np.ndarray, num_rows: int) -> None:
    """Raise UserError if one of ``ids`` names no row. A GPU is not waited for: there such rows become NaN."""
    for found in (ids.min(initial=0), ids.max(initial=0)):
        if not 0 <= found < num_rows:
            raise UserError(f"a token is {found}, but the embedding has rows 0 to {num_rows - 1}")


@op
def embedding(ids: np.ndarray, table: np.ndarray, y: np.ndarray) -> None:
    """Write y[m] = table[ids[m]]; ids are not checked here."""
    np.take(table, ids, axis=0, out=y, mode="clip")


@op
def embedding_dw(ids: np.ndarray, dy: np.ndarray, dtable: np.ndarray, buffer: Any) -> None:
    """Add each dy[m] to dtable[ids[m]]: rows of equal id are brought together and each run is summed once."""
    if not len(ids):
        return
    scratch = buffer("rows", (2, *dy.shape))
    order = np.argsort(ids, kind="stable")
    in_order = ids[order]
    firsts = np.flatnonzero(np.diff(in_order, prepend=in_order[0] - 1))
    np.take(dy, order, axis=0, out=scratch[0], mode="clip")
    sums, rows = scratch[1, : len(firsts)], scratch[0, : len(firsts)]
    np.add.reduceat(scratch[0], firsts, axis=0, out=sums)
    np.take(dtable, in_order[firsts], axis=0, out=rows, mode="clip")
    np.add(rows, sums, out=rows)
    dtable[in_order[firsts]] = rows
