"""Embedding tables of columns divided among ranks by rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...comm.group import Group
from ...comm.world import World, data_group
from ...context import Context
from ...errors import UserError
from ...layers.base import Layer
from ...layers.column_embeddings import ColumnEmbeddings
from ...ops.embedding import check_ids
from .row_exchange import RowExchange

ON_CPUS = "embedding tables are divided in the memory of CPUs only: take --device cpu, or leave axis expert out"


class DividedColumns(Layer):
    """y of ``ColumnEmbeddings`` for the samples of each rank, where each has some rows of the large tables.

    Small tables are whole on all ranks, and their gradients are summed.

    Parameters
    ----------
    group : Group or World
    columns : ColumnEmbeddings
        The whole layer, without memory; it becomes that of this rank's rows.

    Raises
    ------
    UserError
        On a device.

    Attributes
    ----------
    local : ColumnEmbeddings
    exchanges : list of (list of int, RowExchange)
        The numbers of the tables with vectors of one size, whose rows travel together.

    Notes
    -----
    All ranks call forward and backward together, also those without samples. See ``RowExchange`` for the messages.
    """

    def __init__(self, group: Group | World, columns: ColumnEmbeddings):
        group = data_group(group)
        if group.has_devices:
            raise UserError(ON_CPUS)
        self.local, self.needs_dx = columns, columns.needs_dx
        by_size: dict[int, list[int]] = {}
        for number in columns.large:
            by_size.setdefault(columns.tables[number].size, []).append(number)
        self.exchanges = [(some, RowExchange(group, [columns.tables[k] for k in some])) for some in by_size.values()]
        divided = {number for some in by_size.values() for number in some}
        self._whole = [number for number in range(len(columns.tables)) if number not in divided]

    @property
    def only_codes(self) -> bool:
        """True if no column holds numbers."""
        return self.local.only_codes

    @property
    def bytes_sent(self) -> int:
        """Bytes of numbers, rows and gradients that this rank has sent so far."""
        return sum(exchange.bytes_sent for _, exchange in self.exchanges)

    def forward(self, x: np.ndarray, ctx: Context) -> Any:
        """Return numbers and vectors, side by side."""
        local = self.local
        if not isinstance(x, np.ndarray):
            raise UserError(ON_CPUS)
        y = local.with_numbers(x, ctx)
        for number in self._whole:
            local.put_vectors(number, x, y, ctx)
        for some, exchange in self.exchanges:
            codes = ctx.empty(exchange, "codes", (len(x), len(some)), np.int64)
            for place, number in enumerate(some):
                codes[:, place] = x[:, local.columns[number]]
                check_ids(codes[:, place], local.tables[number].num_embeddings)
            rows = exchange.look_up(codes, ctx)
            for place, number in enumerate(some):
                y[:, local.place_of(number)] = rows[:, place]
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Write the gradients of whole tables and of this rank's rows; return dx of the numbers."""
        local = self.local
        for some, exchange in self.exchanges:
            part = ctx.backward.lend(exchange, "dy", (len(dy), len(some), exchange.size))
            for place, number in enumerate(some):
                part[:, place] = dy[:, local.place_of(number)]
            exchange.send_back(part, ctx)
        for number in self._whole:
            local.put_gradient(number, dy, ctx)
        return local.dx_of_numbers(dy, ctx)

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this and of the whole layer."""
        self.needs_dx = needed
        self.local.ask_dx(needed)

    def free(self) -> None:
        """Release all plans and their memory; all ranks call it together."""
        for _, exchange in self.exchanges:
            exchange.free()

    def _named(self, prefix: str, kind: type) -> Iterator[tuple[str, Any]]:
        yield from self.local._named(prefix, kind)
