"""One rank's part of a checkpoint: its byte ranges of tensors, and the memory for their copy."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...device import device_of
from .layout import Tensor, place
from .state import State, overlaps, state_runs

STATES_OF_RANK = "states_of_rank"


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a tensor: ``source`` (n,), from byte ``skip`` of the tensor on."""

    tensor: Tensor
    skip: int
    source: np.ndarray

    @property
    def offset(self) -> int:
        """Byte offset from the start of the data."""
        return self.tensor.begin + self.skip


@dataclass(frozen=True)
class Checksum:
    """The CRC-32 of ``num_bytes`` of a tensor, from ``skip`` on."""

    name: str
    skip: int
    num_bytes: int
    crc: int


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
    left_out : frozenset of str
        Names of values and states that others write, since their arenas hold them too.
    num_ranks : int
        Ranks with a copy of the arena; each writes its slots of the optimizer where it has its own.
    """

    def __init__(
        self,
        state: State,
        slices: tuple[slice, ...],
        rank: int,
        rows: int = 0,
        left_out: frozenset[str] = frozenset(),
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
        first = start = stop = begin = 0
        for piece in self._pieces:
            if piece.offset != begin + stop - first:
                if stop > first:
                    yield begin, self._copy[first:stop]
                begin, first = piece.offset, start
            start = stop = start + piece.source.nbytes
        if stop > first:
            yield begin, self._copy[first:stop]

    def checksums(self) -> list[Checksum]:
        """Return the checksum of each copied piece."""
        pairs = zip(self._pieces, self._copies, strict=True)
        return [Checksum(p.tensor.name, p.skip, memory.size, zlib.crc32(memory.data)) for p, memory in pairs]


def _pieces(
    state: State, slices: tuple[slice, ...], rank: int, tensors: dict[str, Tensor], left_out: frozenset[str]
) -> Iterator[Piece]:
    arena = state.arena
    for prefix, flat in state.buffers().items():
        own = state.is_own(prefix)
        there = arena.parameters if prefix else [*arena.parameters, *arena.frozen]
        for p, part in overlaps(
            [p for p in there if p.name not in left_out], (slice(0, len(flat)),) if own else slices
        ):
            row = rank * p.size if own else 0
            yield Piece(tensors[prefix + p.name], (row + part.start - p.start) * flat.itemsize, flat[part])
    if rank == 0:
        states = [s for s in arena.state_list if s.name not in left_out]
        yield from (Piece(tensors[s.name], 0, s.data.reshape(-1)) for s in states)
    if STATES_OF_RANK in tensors:
        table, row = tensors[STATES_OF_RANK], rank * arena.whole.num_states
        for part, place in state_runs(arena, left_out):
            yield Piece(table, (row + place.start) * arena.states.itemsize, arena.states[part])
