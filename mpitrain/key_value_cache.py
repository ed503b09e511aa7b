"""Keys and values of the tokens that a model has read, so that the next token is computed alone.

Shapes: N rows, Hk heads of keys and values, T tokens, D numbers of a head.
"""

from typing import Any

FIRST_CAPACITY = 64  # tokens; the memory doubles from there


class KeyValueCache:
    """The keys and values of each attention layer; ``ctx.cache`` of a context with which rows are read in pieces.

    Layers append in ``forward`` and look at all that is there; ``advance`` then counts the tokens of the piece.

    Parameters
    ----------
    capacity : int
        The most tokens of a row, where that is known; 0 where it is not.

    Attributes
    ----------
    length : int
        Tokens before the piece that is read now: its first token has this position.
    """

    def __init__(self, capacity: int = 0):
        self.length = 0
        self._capacity = capacity
        self._arrays: dict[tuple[int, str], Any] = {}

    def append(self, owner: object, name: str, piece: Any) -> Any:
        """Put ``piece`` (N, Hk, T, D) of layer ``owner`` after what is there; return all of it, a view.

        The memory is that of the device of ``piece``. Tokens must follow each other for all layers alike, and rows be
        as many as before, unless ``clear`` is called.
        """
        rows, heads, count, size = piece.shape
        end = self.length + count
        array = self._arrays.get((id(owner), name))
        if array is None or array.shape[0] != rows or array.shape[2] < end:
            larger = _empty_like(piece, (rows, heads, self._room_for(end), size))
            if array is not None and self.length:
                larger[:, :, : self.length] = array[:, :, : self.length]
            array = self._arrays[id(owner), name] = larger
        array[:, :, self.length : end] = piece
        return array[:, :, :end]

    def advance(self, count: int) -> None:
        """Count ``count`` tokens that all layers have read."""
        self.length += count

    def clear(self) -> None:
        """Forget all tokens; the memory is kept."""
        self.length = 0

    @property
    def num_bytes(self) -> int:
        """The bytes of all arrays."""
        return sum(array.nbytes for array in self._arrays.values())

    def _room_for(self, length: int) -> int:
        room = max(FIRST_CAPACITY, 1 << (length - 1).bit_length())
        return max(length, min(room, self._capacity or room))


def _empty_like(piece: Any, shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.empty_like(piece, order="C", shape=shape)
