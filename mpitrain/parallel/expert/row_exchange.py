"""Rows of embedding tables that travel between ranks: numbers of rows there, rows back, their gradients there again."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...comm.group import Group
from ...context import Context
from ...layers.embedding import Embedding
from ...ops.embedding import embedding, embedding_dw
from ...parameter import Shard
from ..moves import RaggedTurn
from .deal import Places, deal

SLACK = 0.25  # a plan takes longer to make than a quarter of the rows to send
AXIS = "expert"


class RowExchange:
    """Look-up of rows in tables of one width, of which each rank has some rows.

    Parameters
    ----------
    group : Group
    tables : sequence of Embedding
        T tables of vectors of D numbers, without memory; each becomes that of this rank's rows.

    Notes
    -----
    Each rank asks with the codes of its samples, (n, T). Equal ones are asked for once: with U different rows, of which
    other ranks have (P - 1) / P, a rank sends U numbers (int64) and gets U rows in forward, and sends U rows of
    gradients in backward, whatever the number V of rows of the tables is. All ranks call ``look_up`` and ``send_back``
    together, also those without samples. (Naumov et al. 2019, arXiv 1906.00091, section 4, have whole tables on each
    rank, and exchange the vectors of all samples instead of rows.)

    The gradient of a row is that of the samples of all ranks, so it is not summed over them.
    """

    def __init__(self, group: Group, tables: Sequence[Embedding]):
        self.group, self.tables, self.size = group, list(tables), tables[0].size
        dealt = [deal(table.num_embeddings, group.size, first) for first, table in enumerate(tables)]
        self.places = Places(dealt)
        for table, ranges in zip(tables, dealt, strict=True):
            table.weight = table.weight.part(Shard(0, ranges[group.rank], AXIS))
        self.there, self.back = RaggedTurn(group, slack=SLACK), RaggedTurn(group, slack=SLACK)
        self.there.needs_dx = False
        self._own_starts = self.places.own_starts[group.rank]

    @property
    def bytes_sent(self) -> int:
        """Bytes of numbers, rows and gradients that this rank has sent so far."""
        return self.there.exchange.bytes_sent + self.back.exchange.bytes_sent

    @property
    def trains(self) -> bool:
        """True if one of the tables is trained."""
        return any(table.trains for table in self.tables)

    def look_up(self, codes: np.ndarray, ctx: Context) -> Any:
        """Return the rows (n, T, D) of ``codes`` (n, T) int64.

        Raises
        ------
        UserError
            If a code is outside of its table.
        """
        numbers, inverse = np.unique(codes + self.places.starts[:-1], return_inverse=True)
        rank, place = self.places.find(numbers)
        order = np.argsort(rank, kind="stable")
        of_number = np.empty_like(order)
        of_number[order] = np.arange(len(order))
        asked = of_number[inverse.reshape(-1)]  # which of the rows that come back is that of each code
        self.there.route(np.bincount(rank, minlength=self.group.size).tolist(), ctx)
        self.back.follow(ctx[self.there, "table"].T, ctx)
        wanted = self.there.forward(place[order], ctx)
        found = self.back.forward(self._read(wanted, ctx), ctx)
        y = ctx.lend(self, "y", (*codes.shape, self.size))
        embedding(asked, found, y.reshape(-1, self.size))
        ctx[self, "asked"] = asked, len(numbers)
        return y

    def send_back(self, dy: Any, ctx: Context) -> None:
        """Send the gradients ``dy`` (n, T, D) to the ranks of the rows, and write those of the own rows."""
        if not self.trains:
            return
        asked, num_rows = ctx[self, "asked"]
        sums = ctx.backward.lend(self, "sums", (num_rows, self.size))
        sums[...] = 0
        embedding_dw(asked, dy.reshape(-1, self.size), sums)
        came = self.back.backward(sums, ctx)
        order, ends = ctx[self, "wanted"]
        wanted, in_order = order[1], ctx.backward.lend(self, "rows", came.shape)
        embedding(order[0], came, in_order)
        for table, first, start, stop in zip(self.tables, self._own_starts, ends, ends[1:], strict=False):
            table.put_gradient(wanted[start:stop] - first, in_order[start:stop])

    def _read(self, wanted: np.ndarray, ctx: Context) -> Any:
        """Return the own rows that other ranks ask for, (R, D) in the order of ``wanted`` (R,)."""
        order = np.argsort(wanted, kind="stable")
        in_order = wanted[order]
        ends = np.searchsorted(in_order, self._own_starts)
        rows = ctx.lend(self, "rows", (len(wanted), self.size))
        for table, first, start, stop in zip(self.tables, self._own_starts, ends, ends[1:], strict=False):
            embedding(in_order[start:stop] - first, table.weight.data, rows[start:stop])
        ctx[self, "wanted"] = (order, in_order), ends.tolist()
        inverse = np.empty_like(order)
        inverse[order] = np.arange(len(order))
        y = ctx.lend(self, "sent", rows.shape)
        embedding(inverse, rows, y)
        return y

    def free(self) -> None:
        """Release all plans and their memory; all ranks call it together."""
        self.there.free()  # and the way back, which has the same plans
