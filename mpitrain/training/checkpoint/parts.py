"""One rank's part of a checkpoint: its byte ranges of tensors, and the memory for their copy."""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...device import device_of
from ...parameter import Parameter
from ...parameter import Tensor as AnyTensor
from .crc32 import combine, crc_of_zeros
from .layout import Tensor, place
from .state import Held, State, held, overlaps, state_runs

STATES_OF_RANK = "states_of_rank"
LARGEST_SCRATCH = 64 << 20  # bytes for a checksum: a rank with a part of a large table has no memory for all of it


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a tensor: ``source`` (n,), from byte ``skip`` of the tensor on.

    Attributes
    ----------
    runs : tuple of (first, place, length)
        Where the tensor is cut, its elements from ``first`` on, which lie at ``place`` in the tensor; empty where
        ``source`` is one stretch of it.
    """

    tensor: Tensor
    skip: int
    source: np.ndarray
    runs: tuple[tuple[int, int, int], ...] = ()

    def stretches(self, data: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (byte offset from the start of the data, bytes) of its copy ``data``, as bytes."""
        if not self.runs:
            yield self.tensor.begin + self.skip, data
        size = self.source.itemsize
        for first, at, length in self.runs:
            yield self.tensor.begin + at * size, data[first * size : (first + length) * size]

    def checksum(self, data: np.ndarray) -> "Checksum":
        """Return the checksum of its copy ``data``."""
        tensor, size = self.tensor, self.source.itemsize
        if not self.runs:
            return Checksum(tensor.name, self.skip, data.size, zlib.crc32(data.data))
        if tensor.end - tensor.begin > LARGEST_SCRATCH:
            return Checksum(tensor.name, 0, tensor.end - tensor.begin, self._crc_in_runs(data), scattered=True)
        whole = np.zeros(tensor.end - tensor.begin, np.uint8)
        for first, at, length in self.runs:
            whole[at * size : (at + length) * size] = data[first * size : (first + length) * size]
        return Checksum(tensor.name, 0, whole.size, zlib.crc32(whole.data), scattered=True)

    def _crc_in_runs(self, data: np.ndarray) -> int:
        """Return the CRC-32 of the whole tensor with zeros beside the runs, without memory for it."""
        size, crc, done = self.source.itemsize, 0, 0
        for first, at, length in self.runs:
            gap, run = at * size - done, data[first * size : (first + length) * size]
            crc = combine(combine(crc, crc_of_zeros(gap), gap), zlib.crc32(run.data), run.size)
            done = at * size + run.size
        rest = self.tensor.end - self.tensor.begin - done
        return combine(crc, crc_of_zeros(rest), rest)


@dataclass(frozen=True)
class Checksum:
    """The CRC-32 of ``num_bytes`` of a tensor, from ``skip`` on.

    Where it is ``scattered``, the bytes are those of the whole tensor with zeros in place of what other ranks have.
    """

    name: str
    skip: int
    num_bytes: int
    crc: int
    scattered: bool = False


def tensors_of(state: State, rows: int = 0, slot_rows: int = 1) -> list[Tensor]:
    """Return the places of all tensors of the whole model, and of the states of ``rows`` ranks where each has its own.

    They are the same on all ranks, whatever part of the model the arena of each is.

    Parameters
    ----------
    slot_rows : int
        Ranks with slots of the optimizer of their own, where each has: one row of a tensor is that of one rank.
    """
    whole, dtype, wanted = state.arena.whole, state.arena.states.dtype, list[tuple[str, Any, tuple[int, ...]]]()
    for prefix, buffer in state.buffers().items():
        parameters = whole.trained if prefix else whole.trained + whole.frozen
        first = (slot_rows,) if state.is_own(prefix) else ()
        wanted += [(prefix + p.name, buffer.dtype, (*first, *p.shape)) for p in parameters]
    wanted += [(s.name, dtype, s.shape) for s in whole.states]
    if rows:
        wanted.append((STATES_OF_RANK, dtype, (rows, whole.num_states)))
    return place(wanted)


class Part:
    """Part of a checkpoint that one rank writes.

    Parameters
    ----------
    state : State
    slices : tuple of slice
        This rank's slices of the arena's values, and as far as they go of each slot.
    rank, rows : int
        This rank among those with a copy of the arena. Rank 0 writes the states; with ``rows`` above 0, each of
        ``rows`` ranks has and writes its own.
    left_out : frozenset of (str, Shard or None)
        Values and states, or parts of them, that others write, since their arenas hold them too.
    num_ranks : int
        Ranks with a copy of the arena; each writes its slots of the optimizer where it has its own.
    """

    def __init__(
        self,
        state: State,
        slices: tuple[slice, ...],
        rank: int,
        rows: int = 0,
        left_out: frozenset[Held] = frozenset(),
        num_ranks: int = 1,
    ):
        self.tensors = tensors_of(state, rows, num_ranks)
        self._device = state.arena.device
        self._pieces = list(_pieces(state, slices, rank, {t.name: t for t in self.tensors}, left_out))
        self._copy = np.empty(sum(piece.source.nbytes for piece in self._pieces), np.uint8)
        self._copies, start = [], 0
        for piece in self._pieces:
            self._copies.append(self._copy[start : start + piece.source.nbytes])
            start += piece.source.nbytes

    def copy(self) -> None:
        """Copy the state as it is now."""
        for piece, memory in zip(self._pieces, self._copies, strict=True):
            device_of(piece.source).copy_to_host(memory.view(piece.source.dtype), piece.source)
        self._device.synchronize()

    def stretches(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (offset in the data, bytes) of the copied pieces, with adjacent pieces merged."""
        place, start, stop = 0, 0, 0
        for offset, data in self._scattered():
            at = data.ctypes.data - self._copy.ctypes.data
            if (offset, at) != (place + stop - start, stop):
                if stop > start:
                    yield place, self._copy[start:stop]
                place, start = offset, at
            stop = at + data.size
        if stop > start:
            yield place, self._copy[start:stop]

    def _scattered(self) -> Iterator[tuple[int, np.ndarray]]:
        for piece, memory in zip(self._pieces, self._copies, strict=True):
            yield from piece.stretches(memory)

    def checksums(self) -> list[Checksum]:
        """Return the checksum of each copied piece."""
        return [piece.checksum(memory) for piece, memory in zip(self._pieces, self._copies, strict=True)]


def _pieces(
    state: State, slices: tuple[slice, ...], rank: int, tensors: dict[str, Tensor], left_out: frozenset[Held]
) -> Iterator[Piece]:
    arena = state.arena
    for prefix, flat in state.buffers().items():
        own = state.is_own(prefix)
        there = arena.trained if prefix else [*arena.trained, *arena.frozen]
        written = [p for p in there if held(p) not in left_out]
        for p, part in overlaps(written, (slice(0, len(flat)),) if own else slices):
            yield _piece(tensors[prefix + p.name], p, part, flat, rank if own else 0)
    if rank == 0:
        for s in arena.state_list:
            if held(s) not in left_out and s.size:
                yield Piece(tensors[s.name], 0, s.data.reshape(-1), _runs(s, slice(0, s.size)))
    if STATES_OF_RANK in tensors:
        table, row = tensors[STATES_OF_RANK], rank * arena.whole.num_states
        for part, place in state_runs(arena, left_out):
            yield Piece(table, (row + place.start) * arena.states.itemsize, arena.states[part])


def _piece(tensor: Tensor, p: Parameter, part: slice, flat: np.ndarray, row: int) -> Piece:
    """Return the piece of ``flat`` with the part of ``p`` at ``part``, for one of the rows of a tensor."""
    inside = slice(part.start - p.start, part.stop - p.start)
    if p.shard is None:
        return Piece(tensor, (row * p.size + inside.start) * flat.itemsize, flat[part])
    before = row * math.prod(p.full_shape)
    runs = tuple((first, before + at, length) for first, at, length in _runs(p, inside))
    return Piece(tensor, 0, flat[part], runs)


def _runs(tensor: AnyTensor, part: slice) -> tuple[tuple[int, int, int], ...]:
    """Return where the elements ``part`` of a cut tensor lie in the whole, counted from the first of them."""
    if tensor.shard is None:
        return ()
    runs = tensor.shard.runs(tensor.full_shape, part.start, part.stop)
    return tuple((first - part.start, at, length) for first, at, length in runs)
