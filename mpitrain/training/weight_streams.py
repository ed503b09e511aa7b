"""Large tensors on their way to a file of weights: rank 0 gets their parts from other ranks piece by piece.

A rank with a part of an embedding table may have no memory for all of it, so rank 0 writes rows as they arrive.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..parameter import Shard

if TYPE_CHECKING:  # the command line needs no MPI
    from ..comm.channel import Channel

LARGE = 1 << 20
"""Bytes of a tensor from which it is sent in pieces."""
PIECE = 1 << 20
"""Bytes of a piece, of which rank 0 has one from each rank."""
TAG = 0


def is_streamed(shape: Sequence[int], itemsize: int, shard: Shard | None) -> bool:
    """Return whether a tensor of ``shape`` is sent in pieces: it is large, and cut by rows."""
    size = int(np.prod(shape, dtype=np.int64))
    return shard is not None and shard.dim == 0 and size * itemsize >= LARGE


class Source(Protocol):
    """The elements of a part, in order."""

    def take(self, count: int) -> Iterator[np.ndarray]:
        """Yield the next ``count`` elements in pieces, each valid until the next one."""


class Own:
    """The elements of this rank's part."""

    def __init__(self, part: np.ndarray):
        self._flat, self._start = part.reshape(-1), 0

    def take(self, count: int) -> Iterator[np.ndarray]:
        """Yield the next ``count`` elements."""
        self._start += count
        yield self._flat[self._start - count : self._start]


class Arriving:
    """The elements of another rank's part, which it sends by ``send_pieces``."""

    def __init__(self, channel: "Channel", peer: int, size: int, dtype: Any):
        self._channel, self._peer, self._left = channel, peer, size
        self._piece = np.empty(0, dtype)
        self._label = f"weights of {channel.group.name_of(peer)}"

    def take(self, count: int) -> Iterator[np.ndarray]:
        """Yield the next ``count`` elements in pieces, each valid until the next one."""
        while count:
            if not len(self._piece):
                self._piece = np.empty(min(self._left, PIECE // self._piece.itemsize), self._piece.dtype)
                self._channel.receive(self._piece, self._peer, TAG, self._label).wait()
                self._left -= len(self._piece)
            found, self._piece = self._piece[:count], self._piece[count:]
            count -= len(found)
            yield found


def send_pieces(part: np.ndarray, channel: "Channel") -> None:
    """Send a part to rank 0, as fast as that takes it."""
    flat, step = part.reshape(-1), PIECE // part.itemsize
    for start in range(0, len(flat), step):
        channel.send(flat[start : start + step], 0, TAG, "weights to rank 0").wait()


class StreamedTensor:
    """A tensor of the whole model, to be read once, in the order of its elements.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy dtype
    parts : sequence of (Shard, Source)
        All parts; those of other ranks are sent in the order of the tensors' names.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, parts: Sequence[tuple[Shard, Source]]):
        self.shape, self.dtype, self.itemsize = shape, np.dtype(dtype), np.dtype(dtype).itemsize
        self.nbytes = int(np.prod(shape, dtype=np.int64)) * self.itemsize
        self._pieces = self._in_order(parts)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield its elements in flat pieces, each valid until the next one."""
        return self._pieces

    def _in_order(self, parts: Sequence[tuple[Shard, Source]]) -> Iterator[np.ndarray]:
        runs = []
        for number, (shard, _) in enumerate(parts):
            size = int(np.prod(shard.shape(self.shape), dtype=np.int64))
            runs += [(place, number, length) for _, place, length in shard.runs(self.shape, 0, size)]
        for _, number, length in sorted(runs):
            yield from parts[number][1].take(length)


def drain(tensors: "dict[str, Any] | None") -> None:
    """Receive what other ranks still send of ``tensors``, so that they go on where the file could not be written."""
    for _, tensor in sorted((tensors or {}).items()):
        if isinstance(tensor, StreamedTensor):
            for _ in tensor:
                pass
