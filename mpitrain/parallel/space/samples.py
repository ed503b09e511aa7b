"""From rows of all samples to whole samples: each rank goes on with its share of the samples.

Shapes: rows (N, H_r, W, C), samples (N_r, ...), with N_r as even as possible, 0 where ranks outnumber samples.
"""

from abc import abstractmethod
from typing import Any

from ...comm.group import Group
from ...comm.world import World
from ...context import Context
from ...data.sampler import share
from ...layers import GlobalAvgPool, Layer
from ..moves import AllGather, Move, ReduceScatter, Turn
from ..tensor.divided import Divided


class _BySamples(Move):
    """A move for any number of samples: one for each number, all of which use one set of plans.

    ``ctx.first`` counts the samples of this rank behind it, so that layers there draw the masks that these samples have
    on one rank.
    """

    def __init__(self, group: Group | World):
        super().__init__(group)
        self._moves: dict[Any, Move] = {}

    @abstractmethod
    def make(self, count: Any) -> Move:
        """Return the move for so many samples."""

    def move_for(self, count: Any) -> Move:
        """Return the move for so many samples, made once."""
        if count not in self._moves:
            move = self._moves[count] = self.make(count)
            move.exchange = self.exchange
        self._moves[count].needs_dx = self.needs_dx
        return self._moves[count]

    def share_of_samples(self, count: int) -> slice:
        """Return this rank's samples of so many: what the layers behind this one get."""
        return share(count, self.group.rank, self.group.size)

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return this rank's samples."""
        move = self.move_for(len(x))
        ctx[self] = move, ctx.first
        if ctx.training:
            ctx.first += self.share_of_samples(len(x)).start
        return move.forward(x, ctx)

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return the gradient of all samples."""
        move, ctx.first = ctx[self]
        return move.backward(dy, ctx)


class ToSamples(_BySamples):
    """Each rank gets all rows of its share of the samples; backward is the turn back.

    Parameters
    ----------
    group : Group or World
    height : int
        Rows of whole images.

    Notes
    -----
    x (N, H_r, W, C), y (N_r, H, W, C). Messages: (P - 1) / P of the rank's rows, in forward and in backward.
    """

    adjoint = "Turn"

    def __init__(self, group: Group | World, height: int):
        super().__init__(group)
        self.height = height

    def make(self, count: int) -> Move:
        """Return the turn for so many samples."""
        return Turn(self.group, 0, 1, count, self.height)


class SumsToSamples(_BySamples):
    """Each rank gets the sums over the ranks of its share of the samples; backward gathers the gradients of all.

    x (N, ...), y (N_r, ...).
    """

    adjoint = "AllGather"

    def make(self, count: int) -> Move:
        """Return the move for so many samples."""
        return ReduceScatter(self.group, 0, count)


class WholeSamples(_BySamples):
    """All ranks get all samples: y (N, ...), given x (N_r, ...); for outputs."""

    adjoint = "ReduceScatter"

    def make(self, count: tuple[int, ...]) -> Move:
        """Return the move for so many samples of each rank."""
        return AllGather(self.group, 0, count)

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the samples of all ranks, joined; their numbers are gathered first."""
        ctx[self] = move, _ = self.move_for(tuple(self.group.all_gather(len(x)))), ctx.first
        return move.forward(x, ctx)


class PartOfMean(Layer):
    """y[n, c] = the part of the mean over all pixels that the rows of this rank add.

    Parameters
    ----------
    pool : GlobalAvgPool
    num_rows, height : int
        Rows of this rank, and of whole images.

    Notes
    -----
    x (N, H_r, W, C), y (N, C).
    """

    def __init__(self, pool: GlobalAvgPool, num_rows: int, height: int):
        self.pool, self._num_rows, self._height = pool, num_rows, height

    def forward(self, x: Any, ctx: Context) -> Any:
        """Return the mean over the own rows, times their part of all rows."""
        if not self._num_rows:
            ctx[self] = x.shape
            y = ctx.lend(self, "y", (x.shape[0], x.shape[3]), x.dtype)
            y[...] = 0
            return y
        y = self.pool.forward(x, ctx)
        y *= self._num_rows / self._height
        return y

    def backward(self, dy: Any, ctx: Context) -> Any:
        """Return dx = dy / (H W) at each pixel."""
        if not self._num_rows:
            return ctx.backward.lend(self, "dx", ctx[self], dy.dtype)
        dy *= self._num_rows / self._height
        return self.pool.backward(dy, ctx)


def divide_global_pool(pool: GlobalAvgPool, group: Group, height: int) -> Divided:
    """Return the pool for this rank's rows, behind which it has its share of the samples.

    Messages: N C elements of sums instead of all rows.
    """
    own = share(height, group.rank, group.size)
    return Divided(PartOfMean(pool, own.stop - own.start, height), SumsToSamples(group))
