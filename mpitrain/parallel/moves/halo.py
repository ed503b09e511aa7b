"""Halo: the rows that a rank needs beside its own, from the ranks near it; a constant beyond the edges.

Rank r has the rows [a_r, b_r) of a dimension of length L and needs the rows [first_r, stop_r), any part of which may be
its own, another rank's, or outside of [0, L).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...collectives.halo_exchange.shift import place_of
from ...comm.group import Group
from ...comm.world import World
from ...context import Context
from ...layers.base import empty_gradient
from .exchange import Planned, flat_size
from .move import Length, Move, along, slices_of, total_of, with_length

Rows = tuple[int, int]
"""The first row, and the one after the last."""


Arrival = Callable[[], Iterator[tuple[Rows, Any]]]
"""Waits for rows on their way, and yields them with their places: arrays that are valid until the next start."""


class Halo(Move):
    """y = the rows that this rank needs, zero where there are none; backward adds the gradients of copies of a row.

    Parameters
    ----------
    group : Group or World
    dim : int
        The dimension of rows.
    length : int or sequence of int
        Number of all rows, divided as evenly as possible; or the number of each rank's rows.
    before, after : int
        Rows needed on both sides of the own ones; a rank without rows needs none.
    rows : sequence of (first, stop), optional
        Rows that each rank needs, instead of those: see ``rows_of_windows``.
    fill : float
        The value of rows beyond the edges: -inf for a max pool, to which padding does not count.

    Notes
    -----
    Dryden et al. 2019, arXiv 1903.06681. The rows may come from ranks further away than the neighbors, where parts are
    lower than the halo. With a ``fill`` that is not 0, backward is the adjoint of the linear part.

    A layer that computes while rows travel calls ``start_forward`` and ``start_backward``, which do not copy the own
    rows.
    """

    adjoint = "Halo, reversed"

    def __init__(
        self,
        group: Group | World,
        dim: int,
        length: Length,
        before: int = 1,
        after: int = 1,
        *,
        rows: Sequence[Rows] | None = None,
        fill: float = 0.0,
    ):
        super().__init__(group)
        size, rank = self.group.size, self.group.rank
        self.dim, self._length, self._fill = dim, total_of(length), fill
        own = [(part.start, part.stop) for part in slices_of(length, size)]
        need = list(rows_around(own, before, after) if rows is None else rows)
        if len(need) != size or any(stop < first for first, stop in need):
            raise ValueError(f"Halo: {need} are not the rows needed by {size} ranks")
        self._rows = tuple(own), tuple(need)
        self._own, self._need, self._kept = own[rank], need[rank], _common(own[rank], need[rank])
        pairs = [(r, s) for r in range(size) for s in range(size) if r != s and _count(_common(own[r], need[s]))]
        self._reach = max((abs(r - s) for r, s in pairs), default=0)
        self._ways = [way for way in (1, -1) if any((s - r) * way > 0 for r, s in pairs)]
        near = [d for d in range(-self._reach, self._reach + 1) if d and 0 <= rank + d < size]
        self._gives = {d: _common(own[rank], need[rank + d]) for d in near}
        self._takes = {d: _common(need[rank], own[rank + d]) for d in near}

    @property
    def is_local(self) -> bool:
        """True if no rank needs rows of another."""
        return not self._reach

    def input_shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of this rank's rows."""
        return with_length(whole, self.dim % len(whole), _count(self._own))

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the rows that this rank needs."""
        self._check(x, self._own)
        y = ctx.lend(self, "y", with_length(x.shape, self.dim % x.ndim, _count(self._need)), x.dtype)
        self._move(x, self._own, self._gives, y, self._need, self._takes)
        if self._fill:
            first, stop = self._need
            inside = _common(self._need, (0, self._length))
            for rows in ((first, inside[0]), (max(inside), stop)):
                if _count(rows):
                    self._part(y, self._need, rows)[...] = self._fill
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return the gradients of this rank's rows: the sum over all ranks that have a copy of them."""
        if not self.needs_dx:
            return empty_gradient(dy)
        self._check(dy, self._need)
        dx = ctx.backward.lend(self, "dx", with_length(dy.shape, self.dim % dy.ndim, _count(self._own)), dy.dtype)
        self._move(dy, self._need, self._takes, dx, self._own, self._gives)
        return dx

    def start_forward(self, x: Any) -> Arrival:
        """Send the rows of x that others need, and return the function that waits for those from others."""
        self._check(x, self._own)
        return self._start(x, [(d, self._part(x, self._own, rows)) for d, rows in _filled(self._gives)])

    def start_backward(self, like: Any, gradient: Callable[[Rows], Any]) -> Arrival:
        """Send gradients of rows of others back, and return the function that waits for those to be added to dx.

        Parameters
        ----------
        like : array
            x of this rank.
        gradient : callable(rows) -> array
            Returns the gradient of rows that ``start_forward`` brought.
        """
        return self._start(like, [(d, gradient(rows)) for d, rows in _filled(self._takes)], backward=True)

    def _move(self, x: Any, there: Rows, gives: dict[int, Rows], y: Any, here: Rows, takes: dict[int, Rows]) -> None:
        """Put the rows of x, which begin at ``there``, where they belong in y, which begins at ``here``, and add."""
        y[...] = 0
        if _count(self._kept):
            self._part(y, here, self._kept)[...] = self._part(x, there, self._kept)
        put = [(d, self._part(x, there, rows)) for d, rows in _filled(gives)]
        for rows, arrived in self._start(x, put, backward=gives is not self._gives)():
            self._part(y, here, rows)[...] += arrived

    def _start(self, like: Any, put: list[tuple[int, Any]], *, backward: bool = False) -> Arrival:
        """Send arrays to ranks at some distances; ``like`` is x, dx or an array that differs in its rows only."""
        takes = list(_filled(self._gives if backward else self._takes))
        flights = [
            (self._fly(like, way, [each for each in put if each[0] * way > 0], takes, backward), way)
            for way in ((-way for way in self._ways) if backward else self._ways)
        ]

        def arrive() -> Iterator[tuple[Rows, Any]]:
            for flight, way in flights:
                self.exchange.finish(flight, ())
                for d, rows in takes:
                    if d * way < 0:
                        shape = with_length(like.shape, self.dim % like.ndim, _count(rows))
                        yield rows, flight.incoming[place_of(d, self._reach)].reshape(shape)

        return arrive

    def _fly(
        self, like: Any, way: int, put: list[tuple[int, Any]], takes: list[tuple[int, Rows]], backward: bool
    ) -> Planned:
        """Start the messages to ranks after this one (way 1) or before it (-1), which come from the other side.

        Each way has a plan of its own, so that no message waits for one that comes.
        """
        reach, dim = self._reach, self.dim % like.ndim
        one = flat_size(with_length(like.shape, dim, 1))
        counts = [[0] * (2 * reach) for _ in range(2)]
        for d, array in put:
            counts[0][place_of(d, reach)] = int(array.size)
        for d, rows in takes:
            counts[1][place_of(d, reach)] = _count(rows) * one if d * way < 0 else 0
        key = "backward" if backward else "forward", way, *self._rows, with_length(like.shape, dim, self._length)
        chunks = [(place_of(d, reach), array) for d, array in put]
        return self.exchange.start(f"halo_exchange/shift:reach={reach}", key, counts, chunks, like=like)

    def _part(self, array: Any, begin: Rows, rows: Rows) -> Any:
        """Return some rows of an array that begins at the first of ``begin``."""
        return array[along(self.dim % array.ndim, slice(rows[0] - begin[0], rows[1] - begin[0]))]

    def _check(self, array: Any, rows: Rows) -> None:
        if array.shape[self.dim] != _count(rows):
            raise ValueError(f"Halo: dimension {self.dim} of {array.shape} must have the rows {rows}")


def rows_around(own: Sequence[Rows], before: int, after: int) -> Iterator[Rows]:
    """Yield the rows of each rank with so many before and after them; none for a rank that has none.

    Examples
    --------
    >>> list(rows_around([(0, 3), (3, 5), (5, 5)], 1, 2))
    [(-1, 5), (2, 7), (5, 5)]
    """
    for first, stop in own:
        yield (first - before, stop + after) if stop > first else (first, first)


def rows_of_windows(
    length: int, size: int, extent: int, stride: int = 1, padding: int = 0, *, outputs: int | None = None
) -> list[Rows]:
    """Return the rows that each rank needs to compute its share of the outputs of a convolution or pool.

    Parameters
    ----------
    length : int
        Number of all rows of x.
    size : int
        Number of ranks.
    extent : int
        Rows that one output depends on, from the first to the last: (kernel - 1) * dilation + 1.
    stride, padding : int
    outputs : int, optional
        Number of all rows of y; by default those of windows that end inside of the padded rows.

    Examples
    --------
    >>> rows_of_windows(8, 2, extent=3, padding=1), rows_of_windows(7, 3, extent=2, stride=2)
    ([(-1, 5), (3, 9)], [(0, 2), (2, 4), (4, 6)])
    """
    inside = max(0, (length + 2 * padding - extent) // stride + 1)
    rows = []
    for part in slices_of(inside if outputs is None else outputs, size):
        first = part.start * stride - padding
        last = (part.stop - 1) * stride - padding  # first row of the last output
        rows.append((first, last + extent if part.stop > part.start else first))
    return rows


def _common(one: Rows, other: Rows) -> Rows:
    return max(one[0], other[0]), min(one[1], other[1])


def _filled(parts: dict[int, Rows]) -> Iterator[tuple[int, Rows]]:
    return ((d, rows) for d, rows in parts.items() if _count(rows))


def _count(rows: Rows) -> int:
    return max(0, rows[1] - rows[0])
