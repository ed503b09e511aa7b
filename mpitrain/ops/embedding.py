"""Rows of a table.

Shapes: ids (M,) integer in [0, V); table, dtable (V, D); y, dy, scratch (M, D). Any M, also 0.
"""

import numpy as np


def embedding(ids: np.ndarray, table: np.ndarray, y: np.ndarray) -> None:
    """Write y[m] = table[ids[m]]; ids are not checked here."""
    np.take(table, ids, axis=0, out=y, mode="clip")


def embedding_dw(ids: np.ndarray, dy: np.ndarray, dtable: np.ndarray, scratch: np.ndarray) -> None:
    """Add each dy[m] to dtable[ids[m]]: rows of equal id are brought together and each run is summed once."""
    if not len(ids):
        return
    order = np.argsort(ids, kind="stable")
    in_order = ids[order]
    firsts = np.flatnonzero(np.diff(in_order, prepend=in_order[0] - 1))
    np.take(dy, order, axis=0, out=scratch, mode="clip")
    dtable[in_order[firsts]] += np.add.reduceat(scratch, firsts, axis=0)
