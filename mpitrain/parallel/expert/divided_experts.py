"""Experts divided among ranks, between two moves of rows."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...comm.group import Group
from ...comm.world import World, data_group
from ...context import Context
from ...layers.base import Layer, empty_gradient
from ...layers.experts import Experts
from ...ops.embedding import embedding
from ...parameter import Shard
from ..moves import RaggedTurn
from ..moves.exchange import Exchange
from ..moves.move import slices_of

SLACK = 0.25  # a plan takes longer to make than a quarter of the rows to send


class DividedExperts(Layer):
    """y of ``Experts`` for the rows of each rank, where each rank has some of the experts.

    Parameters
    ----------
    group : Group or World
    experts : Experts
        The whole layer, without memory; divided as evenly as possible. The longer parts come first.

    Attributes
    ----------
    local : Experts
        Those of this rank.

    Notes
    -----
    Rows (R, C) lie in the order of their experts, as for ``Experts``. Each rank first tells all others how many rows it
    has for each expert; then the rows travel to the ranks with their experts, are put in the order of these, and the
    results travel back. In backward gradients go the same ways. All ranks call ``expect``, forward and backward
    together, also those without rows. An expert's gradient is that of the rows of all ranks of the group, so it is not
    summed over them.

    Messages of a rank with R rows, each of which goes to any of P ranks with the same probability: 4 all-to-alls of
    (P - 1) / P R C elements, two of them in backward, and one all-gather of E numbers.
    """

    def __init__(self, group: Group | World, experts: Experts):
        self.group = data_group(group)
        rank, size = self.group.rank, self.group.size
        self.num_experts = experts.num_experts
        self._owned = slices_of(experts.num_experts, size)
        self.there, self.back = RaggedTurn(self.group, slack=SLACK), RaggedTurn(self.group, slack=SLACK)
        self.local = experts.part(Shard.even(0, experts.num_experts, rank, size, axis="expert"))
        self._counts = Exchange(self.group, self.kind)
        self.ask_dx(experts.needs_dx)

    def expect(self, counts: Sequence[int], ctx: Context) -> None:
        """Set the rows that this rank has for each expert in this microbatch; all ranks call it before forward."""
        table = self._gather(counts)  # rows of each source for each expert
        mine = table[:, self._owned[self.group.rank]]
        going = np.stack([table[:, part].sum(axis=1) for part in self._owned], axis=1)
        self.there.follow(going, ctx)
        self.back.follow(going.T, ctx)
        self.local.expect(mine.sum(axis=0).tolist(), ctx)
        expert_of = np.repeat(np.tile(np.arange(mine.shape[1]), len(mine)), mine.reshape(-1))  # of each row that comes
        order = np.argsort(expert_of, kind="stable")
        inverse = np.empty_like(order)
        inverse[order] = np.arange(len(order))
        ctx[self, "order"] = ctx.device.from_host(order), ctx.device.from_host(inverse)

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the results of this rank's rows."""
        order, inverse = ctx[self, "order"]
        rows = _ordered(order, self.there.forward(x, ctx), ctx.lend(self, "rows", (len(order), x.shape[1])))
        y = self.local.forward(rows, ctx)
        return self.back.forward(_ordered(inverse, y, ctx.lend(self, "y", y.shape)), ctx)

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Write the gradients of this rank's experts, or put them off; return dx of its rows."""
        if not self.back.needs_dx:  # neither trained, nor anything below
            return empty_gradient(dy)
        order, inverse = ctx[self, "order"]
        came = self.back.backward(dy, ctx)
        drows = self.local.backward(_ordered(order, came, ctx.backward.lend(self, "dy", came.shape)), ctx)
        if not self.needs_dx:
            return empty_gradient(dy)
        return self.there.backward(_ordered(inverse, drows, ctx.backward.lend(self, "dx", drows.shape)), ctx)

    def ask_dx(self, needed: bool) -> None:
        """Set ``needs_dx`` of this, of the moves and of the experts."""
        self.needs_dx = needed
        self.there.ask_dx(needed)
        self.local.ask_dx(needed)
        self.back.ask_dx(needed or self.local.trains)

    def free(self) -> None:
        """Release all plans and their memory; all ranks call it together."""
        self._counts.free()
        self.there.free()  # and the way back, which has the same plans

    def _gather(self, counts: Sequence[int]) -> np.ndarray:
        """Return the counts of all ranks (P, E)."""
        if len(counts) != self.num_experts:
            raise ValueError(f"DividedExperts: {len(counts)} numbers of rows for {self.num_experts} experts")
        table = np.zeros((self.group.size, self.num_experts), np.int64)
        own, lengths = np.asarray(counts, np.int64), [self.num_experts] * self.group.size
        places = list(enumerate(table))
        key = "counts", self.num_experts
        self._counts.run("all_gather/ring", key, [lengths], [(self.group.rank, own)], places, like=own)
        return table

    def _named(self, prefix: str, kind: type) -> Iterator[tuple[str, Any]]:
        yield from self.local._named(prefix, kind)


def _ordered(numbers: Any, x: Any, out: Any) -> Any:
    """Return x[numbers], written to ``out``."""
    embedding(numbers, x, out)
    return out
