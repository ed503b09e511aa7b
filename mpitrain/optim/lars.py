"""LARS: layer-wise adaptive rates, for very large batches."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from ..arena import Arena
from ..errors import UserError
from ..ops.lars import Piece, Pieces, Rates, lars_update
from ..ops.update import Block, sgd_update
from ..parameter import Parameter
from .base import ArenaShard, Optimizer, SumOverRanks


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017, arXiv 1708.03888).

        g = scale grad
        trust = eta |w| / (|g| + weight_decay |w|)
        v = momentum v + lr trust (g + weight_decay w)
        w = w - v

    Trust is one number for each parameter; it is 1 where a norm is 0, and for parameters that do not decay (biases,
    scales of normalization).

    Parameters
    ----------
    momentum : float
        In [0, 1).
    eta : float
        The trust coefficient.
    weight_decay, decay_all
        See ``Optimizer``.
    """

    slot_names = ("momentum",)
    default_lr = 1.0
    writes_copy = True

    def __init__(
        self,
        arena: Arena,
        *,
        momentum: float = 0.9,
        eta: float = 0.001,
        weight_decay: float = 0.0,
        decay_all: bool = False,
    ):
        if not 0 <= momentum < 1:
            raise UserError(f"momentum must lie in [0, 1), but it is {momentum}")
        if not 0 < eta < math.inf:
            raise UserError(f"the eta of LARS must be above 0 and finite, but it is {eta}")
        super().__init__(arena, weight_decay=weight_decay, decay_all=decay_all)
        self.momentum, self.eta = float(momentum), float(eta)
        self._kept: dict[ArenaShard, Pieces] = {}

    def step(self, lr: float, scale: float = 1.0, shard: ArenaShard | None = None, *, begun: bool = False) -> None:
        """Update the weights of ``shard``; the norms of a divided parameter are summed over the ranks."""
        shard = shard or self.whole
        self.step_count += not begun
        if shard not in self._kept:
            each = zip(self._pieces(shard), self.blocks(shard), strict=True)
            pieces = [Piece(p.index, self.decays(p), blocks) for (p, _), blocks in each]
            self._kept[shard] = Pieces(pieces, len(self.arena.parameters), self._sum_over_ranks(shard), shard.numbers)
        rates = Rates(float(lr), float(scale), self.momentum, self.weight_decay, self.eta)
        lars_update(self.arena.values, self._kept[shard], rates)

    def _sum_over_ranks(self, shard: ArenaShard) -> SumOverRanks | None:
        """Return the sum over the ranks with the other parts of a parameter; None if they are all here."""
        sums = [each for each in (shard.sum_over_ranks, self.sum_over_parts) if each is not None]
        return partial(_sum_in_turn, sums) if sums else None

    def step_numbers(self, lr: float) -> tuple[float, ...]:
        """Return the scale and the rate."""
        return 1.0, lr

    def update(self, block: Block, lr: float, scale: float) -> None:
        """Update one block; ``lr`` includes the trust."""
        sgd_update(block.w, block, lr * scale, lr * self.weight_decay, self.momentum, False)

    def cut(self, shard: ArenaShard) -> list[slice]:
        """Return a piece for each parameter, or part of one."""
        return [piece for _, piece in self._pieces(shard)]

    def _pieces(self, shard: ArenaShard) -> list[tuple[Parameter, slice]]:
        overlaps = (
            (p, slice(max(p.start, part.start), min(p.stop, part.stop)))
            for p in self.arena.parameters
            for part in shard.parts
        )
        return [(p, piece) for p, piece in overlaps if piece.start < piece.stop]


def _sum_in_turn(sums: Sequence[SumOverRanks], squares: np.ndarray) -> np.ndarray:
    for each in sums:
        each(squares)
    return squares
