"""Tables whose gradients are rows: those that a step has met are summed over ranks with a copy, and updated alone.

A step of n samples meets at most n rows of a table. A gradient of the size of the table would be zeroed, and read by
the norm and by the update, in each step, and take as much memory as the table.
"""

from collections.abc import Iterator

import numpy as np

from ..arena import Arena
from ..comm.group import Group
from ..context import Context
from ..ops.embedding import row_sums
from ..ops.reduce import sum_of_squares
from ..optim import Optimizer
from ..parameter import Parameter
from .moves import RaggedTurn
from .roles import Roles

SLACK = 0.25  # a plan takes longer to make than a quarter of the rows to send


class RowUpdates:
    """Sums and updates of the rows that a step has met.

    Parameters
    ----------
    arena : Arena
        With ``by_rows``, on the host.
    group : Group
        The ranks with other samples that have copies of these tables, or of the same rows of them.
    roles : Roles, optional
        Groups of the mesh, where ranks have different rows.

    Notes
    -----
    Each rank sends its rows to all others of the group, where they are added in the order of the ranks, so that copies
    stay equal. Of P ranks with U rows each of D numbers a rank sends (P - 1) U (8 + 4 D) bytes, in two all-to-alls for
    the tables with one D; divided tables are summed by their owners before, and need none.
    """

    def __init__(self, arena: Arena, group: Group, roles: Roles | None):
        self._arena, self._group = arena, group
        self._counted = {p.name: roles is None or roles.counts(p.shard.axis if p.shard else "") for p in arena.by_rows}
        self._met: list[tuple[Parameter, np.ndarray, np.ndarray]] = []
        self._moves: dict[int, tuple[RaggedTurn, RaggedTurn]] = {}
        self._ctx = Context(dtype=arena.dtype)

    def sum(self) -> None:
        """Sum the rows of all microbatches and ranks of the group; all of these call it together."""
        own = [(p, *_joined(p)) for p in self._arena.by_rows]
        by_width: dict[int, list[tuple[Parameter, np.ndarray, np.ndarray]]] = {}
        for each in own:
            by_width.setdefault(each[2].shape[1], []).append(each)
        self._met = [one for width, some in by_width.items() for one in self._over_ranks(width, some)]

    def squares(self) -> float:
        """Return the sum of squares of the gradients that this rank counts."""
        return sum(sum_of_squares(rows.reshape(-1)) for p, _, rows in self._met if self._counted[p.name])

    def update(self, optimizer: Optimizer, lr: float, scale: float) -> None:
        """Update the rows from their gradients times ``scale``, after the other weights."""
        for p, numbers, rows in self._met:
            optimizer.update_rows(p, numbers, rows, lr, scale)

    def free(self) -> None:
        """Free the plans of messages; all ranks of the group call it together."""
        for move in [move for pair in self._moves.values() for move in pair]:
            move.free()

    def _over_ranks(
        self, width: int, own: list[tuple[Parameter, np.ndarray, np.ndarray]]
    ) -> Iterator[tuple[Parameter, np.ndarray, np.ndarray]]:
        """Yield tables with vectors of one size, with their rows summed over the ranks."""
        if self._group.size == 1:
            yield from own
            return
        if width not in self._moves:
            self._moves[width] = RaggedTurn(self._group, slack=SLACK), RaggedTurn(self._group, slack=SLACK)
        firsts = np.cumsum([0, *(len(p.data) for p, _, _ in own)])
        numbers = np.concatenate([each[1] + first for each, first in zip(own, firsts, strict=False)])
        found, rows = self._exchange(*self._moves[width], numbers, np.concatenate([each[2] for each in own]))
        ends = np.searchsorted(found, firsts)
        for (p, _, _), first, start, stop in zip(own, firsts, ends, ends[1:], strict=False):
            yield p, found[start:stop] - first, rows[start:stop]

    def _exchange(
        self, of_numbers: RaggedTurn, of_rows: RaggedTurn, numbers: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers that any rank has, ascending, and the sums of their rows."""
        size = self._group.size
        of_numbers.route([len(numbers)] * size, self._ctx)
        of_rows.follow(self._ctx[of_numbers, "table"], self._ctx)
        everywhere = of_numbers.forward(np.tile(numbers, size), self._ctx)
        return row_sums(everywhere, of_rows.forward(np.tile(rows, (size, 1)), self._ctx))


def _joined(p: Parameter) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of all microbatches, added."""
    if len(p.rows) == 1:
        return p.rows[0]
    if not p.rows:
        return np.empty(0, np.int64), np.empty((0, *p.shape[1:]), p.data.dtype)
    numbers, rows = zip(*p.rows, strict=True)
    return row_sums(np.concatenate(numbers), np.concatenate(rows))
