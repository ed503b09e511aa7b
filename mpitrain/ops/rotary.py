"""Rotary position embedding: pairs of numbers of each head turn by an angle that grows with the position.

Shapes: x (N, H, T, D) with D even and any strides, changed in place; table (P, D); positions (N, T) int64.
Source: Su et al. 2021, "RoFormer", arXiv 2104.09864.

The pairs are (x[i], x[i + D / 2]), the two halves of a head, as in the Llama models of Hugging Face (the paper turns
neighbors: the same up to the order of a head's numbers). At position p

    (a, b) -> (a cos - b sin, b cos + a sin) of the angle p base^(-2 i / D).

Scores q k then depend on the distance of two tokens alone. The transpose, which backward needs, turns back.
"""

import numpy as np

from .dispatch import op
from .workspace import workspace


def rotary_table(num_positions: int, size: int, base: float) -> np.ndarray:
    """Return (P, D) in float64, for each position the cosines of its D / 2 angles, then their sines.

    >>> rotary_table(2, 2, 10000.0).round(2).tolist()
    [[1.0, 0.0], [0.54, 0.84]]
    """
    frequencies = base ** (-np.arange(0, size, 2) / size)
    angles = np.arange(num_positions)[:, None] * frequencies
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)


def positions_needed(positions: np.ndarray | None, num_tokens: int) -> int:
    """Return how many positions, from 0 on, the table for rows of ``num_tokens`` must have.

    Positions on a device are not read, since that would wait for it: there they are below ``num_tokens``, as those of
    sequences packed into a row are.
    """
    if positions is None or not isinstance(positions, np.ndarray):
        return num_tokens
    return max(num_tokens, int(positions.max(initial=-1)) + 1)


@op
def rotary(x: np.ndarray, table: np.ndarray, positions: np.ndarray | None, offset: int, back: bool) -> None:
    """Turn the pairs of x, or turn them ``back``.

    Token t has position ``positions[n, t]``, or ``offset`` + t where that is None.

    Raises
    ------
    IndexError
        If the table does not have a position. On a GPU such a token becomes NaN.
    """
    _, _, num_tokens, size = x.shape
    if positions is None:
        if offset < 0 or offset + num_tokens > len(table):
            raise IndexError(f"positions {offset} to {offset + num_tokens - 1} are not in a table of {len(table)}")
        rows = table[None, None, offset : offset + num_tokens]
    else:
        if positions.size and not 0 <= positions.min() <= positions.max() < len(table):
            raise IndexError(f"positions {positions.min()} to {positions.max()} are not in a table of {len(table)}")
        rows = table[positions][:, None]
    half = size // 2
    a, b, cos, sin = x[..., :half], x[..., half:], rows[..., :half], rows[..., half:]
    across, along = (np.multiply(part, sin, out=workspace(x, f"{i} sin", a.shape)) for i, part in enumerate((a, b)))
    np.multiply(a, cos, out=a)
    np.multiply(b, cos, out=b)
    turn, turn_other = (np.add, np.subtract) if back else (np.subtract, np.add)
    turn(a, along, out=a)
    turn_other(b, across, out=b)
