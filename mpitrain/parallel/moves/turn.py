"""Turn and RaggedTurn: all-to-all between two dimensions, or of as many rows as each pair of ranks has."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...comm.group import Group
from ...comm.world import World
from ...context import Context
from ...device import Buffers
from ...layers.base import empty_gradient
from .exchange import ALL_TO_ALL, flat_size, pool_of
from .move import Length, Move, along, slices_of, total_of, with_length
from .rooms import Rooms


class Turn(Move):
    """The dimension that is whole becomes the divided one, and the divided one whole; backward is the Turn back.

    Parameters
    ----------
    group : Group or World
    cut, join : int
        Dimensions: x has all of ``cut`` and this rank's part of ``join``, y this rank's part of ``cut`` and all of
        ``join``.
    cut_length, join_length : int or sequence of int
        Their whole lengths, divided as evenly as possible; or the length of each rank's part.

    Notes
    -----
    With tokens as ``join`` and heads as ``cut`` it leads into attention (Jacobs et al. 2023, "DeepSpeed Ulysses",
    arXiv 2309.14509).
    """

    adjoint = "Turn"

    def __init__(self, group: Group | World, cut: int, join: int, cut_length: Length, join_length: Length):
        super().__init__(group)
        self.cut, self.join = cut, join
        self._whole = {cut: total_of(cut_length), join: total_of(join_length)}
        self._slices = {cut: slices_of(cut_length, self.group.size), join: slices_of(join_length, self.group.size)}
        self._lengths = tuple(tuple(part.stop - part.start for part in self._slices[d]) for d in (cut, join))

    def input_shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of x: this rank's part of ``join``."""
        part = self._slices[self.join][self.group.rank]
        return with_length(whole, self.join % len(whole), part.stop - part.start)

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return this rank's part of dimension ``cut``, with all of ``join``."""
        return self._turn(x, self.cut, self.join, ctx, "y")

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return this rank's part of dimension ``join``, with all of ``cut``."""
        return self._turn(dy, self.join, self.cut, ctx.backward, "dx") if self.needs_dx else empty_gradient(dy)

    def _turn(self, x: Any, cut: int, join: int, buffers: Buffers, name: str) -> Any:
        cut_at, join_at, rank = cut % x.ndim, join % x.ndim, self.group.rank
        mine, theirs = self._slices[cut][rank], self._slices[join][rank]
        if (x.shape[cut_at], x.shape[join_at]) != (self._whole[cut], theirs.stop - theirs.start):
            raise ValueError(
                f"Turn: dimensions {cut} and {join} of {x.shape} must have the lengths {self._whole[cut]} and "
                f"{theirs.stop - theirs.start}"
            )
        shape = with_length(with_length(x.shape, cut_at, mine.stop - mine.start), join_at, self._whole[join])
        y = buffers.lend(self, name, shape, x.dtype)
        put = [(r, x[along(cut_at, part)]) for r, part in enumerate(self._slices[cut])]
        take = [(r, y[along(join_at, part)]) for r, part in enumerate(self._slices[join])]
        counts = [[int(array.size) for _, array in chunks] for chunks in (put, take)]
        whole = with_length(x.shape, join_at, self._whole[join])
        self.exchange.run(ALL_TO_ALL, (cut, join, *self._lengths, whole), counts, put, take, like=x)
        return y


class RaggedTurn(Move):
    """Each rank sends any number of rows to each rank; y = the rows that arrive, by source; backward sends them back.

    Parameters
    ----------
    group : Group or World
    counts : sequence of int, optional
        Rows that this rank has for each rank, where ``route`` has not been called.
    slack : float
        Part of the counts by which messages may be longer, so that counts that change a little use the same plan
        (``Rooms``). 0 sends what there is, and a plan is made for each table of counts.

    Notes
    -----
    x is (rows, ...), sorted by destination.
    """

    adjoint = "RaggedTurn"

    def __init__(self, group: Group | World, counts: Sequence[int] | None = None, *, slack: float = 0.0):
        super().__init__(group)
        self._default, self._rooms = counts, self._find_rooms(slack)

    def _find_rooms(self, slack: float) -> Rooms:
        """Return the rooms that all moves of the group share: plans of a room that is dropped are released."""
        rooms = pool_of(self.group).rooms
        if slack not in rooms:
            rooms[slack] = Rooms(slack, lambda room: self.exchange.release(_as_key(room)))
        return rooms[slack]

    def route(self, counts: Sequence[int], ctx: Context) -> int:
        """Set the rows that this rank has for each rank in this microbatch; return the number that will arrive.

        All ranks call it together, before forward.
        """
        size, rank = self.group.size, self.group.rank
        if len(counts) != size or min(counts) < 0:
            raise ValueError(f"RaggedTurn: {list(counts)} are not numbers of rows for {size} ranks")
        table = np.zeros((size, size), np.int64)  # rows of each source for each destination
        own = np.asarray(counts, np.int64)
        places = list(enumerate(table))
        self.exchange.run("all_gather/ring", ("counts",), [[size] * size], [(rank, own)], places, like=own)
        ctx[self, "table"] = table
        return int(table[:, rank].sum())

    def follow(self, table: np.ndarray, ctx: Context) -> None:
        """Set the rows of each source for each destination (P, P) in this microbatch, the same on all ranks."""
        ctx[self, "table"] = table

    def input_shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of x for the counts that it was made with."""
        return (sum(self._default or ()), *whole[1:])

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the rows that arrive at this rank, in the order of their sources."""
        if self._default is not None:
            self.route(self._default, ctx)
        return self._send(x, ctx[self, "table"], ctx, "y")

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return the gradients of this rank's rows, sent back from where the rows went."""
        return self._send(dy, ctx[self, "table"].T, ctx.backward, "dx") if self.needs_dx else empty_gradient(dy)

    def _send(self, x: Any, table: np.ndarray, buffers: Buffers, name: str) -> Any:
        rank, each = self.group.rank, flat_size(x.shape[1:])
        going, coming = table[rank].tolist(), table[:, rank].tolist()
        if len(x) != sum(going):
            raise ValueError(f"RaggedTurn: {len(x)} rows, but the counts are {going}")
        y = buffers.lend(self, name, (sum(coming), *x.shape[1:]), x.dtype)
        put = [(r, x[part]) for r, part in enumerate(slices_of(going, self.group.size))]
        take = [(r, y[part]) for r, part in enumerate(slices_of(coming, self.group.size))]
        room = self._rooms.find(table)
        counts = [[n * each for n in rows] for rows in (room[rank].tolist(), room[:, rank].tolist())]
        key = _as_key(room), x.shape[1:]
        self.exchange.run(ALL_TO_ALL, key, counts, put, take, like=x)
        return y


def _as_key(table: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return tuple(map(tuple, table.tolist()))
