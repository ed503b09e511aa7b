"""Lookup of table rows.

Shapes: ids (M,) integer in [0, V); w, dw (V, D); y, dy (M, D). Any M, also 0.
"""

import numpy as np

from ..errors import UserError
from .dispatch import op
from .workspace import workspace


@op
def check_ids(ids: np.ndarray, num_rows: int) -> None:
    """Raise UserError if an id is outside of the table. A GPU does not check, to avoid a wait: its rows become NaN."""
    for found in (ids.min(initial=0), ids.max(initial=0)):
        if not 0 <= found < num_rows:
            raise UserError(f"a token is {found}, but the embedding has rows 0 to {num_rows - 1}")


@op
def embedding(ids: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
    """Write y[m] = w[ids[m]]; ids are not checked here."""
    np.take(w, ids, axis=0, out=y, mode="clip")


def row_sums(ids: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different ids (U,), ascending, and the sum of dy for each, (U, D)."""
    numbers, inverse = np.unique(ids, return_inverse=True)
    sums = np.zeros((len(numbers), dy.shape[1]), dy.dtype)
    embedding_dw(inverse.reshape(-1), dy, sums)
    return numbers, sums


@op
def embedding_dw(ids: np.ndarray, dy: np.ndarray, dw: np.ndarray) -> None:
    """Add each dy[m] to dw[ids[m]]: rows of equal id are brought together and each run is summed once."""
    if not len(ids):
        return
    scratch = workspace(dy, "rows", (2, *dy.shape))
    order = np.argsort(ids, kind="stable")
    in_order = ids[order]
    firsts = np.flatnonzero(np.diff(in_order, prepend=in_order[0] - 1))
    np.take(dy, order, axis=0, out=scratch[0], mode="clip")
    sums, rows = scratch[1, : len(firsts)], scratch[0, : len(firsts)]
    np.add.reduceat(scratch[0], firsts, axis=0, out=sums)
    np.take(dw, in_order[firsts], axis=0, out=rows, mode="clip")
    np.add(rows, sums, out=rows)
    dw[in_order[firsts]] = rows
