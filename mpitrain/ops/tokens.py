"""Facts about rows of tokens: where they are padded, and where one packed sequence ends and the next begins.

Shapes: x (N, T) integer. Any N, also 0; T is not 0. On a GPU nothing is asked that would make the host wait: what a
host leaves out where it is not needed is computed there in any case.
"""

from typing import Any

import numpy as np

from ..context import PAD
from .dispatch import op


@op
def row_lengths(x: np.ndarray) -> Any:
    """Return the number of tokens of each row before its padding, (N,) int64; on a host None where no row has any."""
    if isinstance(x, np.ndarray) and not (x[:, -1] == PAD).any():
        return None
    return (x != PAD).sum(axis=1).astype(np.int64)


@op
def packed_sequences(x: np.ndarray, end_of_text: int) -> tuple[Any, Any]:
    """Return numbers of sequences, each of which ends with ``end_of_text``, and positions in them, both (N, T) int64.

    On a host (None, None) where no row has two of them.
    """
    is_end = x == end_of_text
    is_end[:, -1] = False  # no token of the row follows
    if isinstance(x, np.ndarray) and not is_end.any():
        return None, None
    starts = is_end.astype(np.int64)
    starts[:, 1:] = starts[:, :-1]
    starts[:, :1] = 0
    segments, places = np.cumsum(starts, axis=1), np.arange(x.shape[1], like=starts)
    if isinstance(x, np.ndarray):
        return segments, places - np.maximum.accumulate(starts * places, axis=1)
    return segments, places - (segments[:, None, :] < segments[:, :, None]).sum(axis=2)  # CuPy has no such accumulate
