"""LARS: the learning rate of each parameter is scaled by the norms of its weights and of its gradient."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .dispatch import op
from .reduce import sum_of_squares
from .update import Block, sgd_update


class Rates(NamedTuple):
    """The numbers of one step; see ``optim/lars.py``."""

    lr: float
    scale: float
    momentum: float
    decay: float
    eta: float

    def trust(self, decays: bool, squares: np.ndarray) -> float:
        """Return the factor of a parameter's learning rate, given |w|^2 and |grad|^2."""
        weight, gradient = math.sqrt(squares[0]), self.scale * math.sqrt(squares[1])
        if not decays or weight == 0 or gradient == 0:
            return 1.0
        return self.eta * weight / (gradient + self.decay * weight)


class Piece(NamedTuple):
    """The part of one parameter that this rank updates."""

    parameter: int  # its number
    decays: bool
    blocks: list[Block]


@dataclass(frozen=True, eq=False)
class Pieces:
    """All parts that one rank updates: the same object in every step, since paths cache data by its identity.

    ``numbers`` are those of ``ops.update.step_numbers`` (scale, lr), which a device's path takes in place of ``Rates``.
    """

    each: Sequence[Piece]
    num_parameters: int
    sum_over_ranks: Callable[[np.ndarray], np.ndarray] | None
    numbers: np.ndarray | None = None


@op
def lars_update(values: np.ndarray, pieces: Pieces, rates: Rates) -> None:
    """Update ``values``, the arena that contains ``pieces``; norms of divided parameters are summed over the ranks."""
    squares = np.zeros((pieces.num_parameters, 2))
    for piece in pieces.each:
        for block in piece.blocks:
            squares[piece.parameter] += sum_of_squares(block.w), sum_of_squares(block.grad)
    if pieces.sum_over_ranks is not None:
        pieces.sum_over_ranks(squares)
    for piece in pieces.each:
        lr = rates.lr * rates.trust(piece.decays, squares[piece.parameter])
        for block in piece.blocks:
            sgd_update(block.w, block, lr * rates.scale, lr * rates.decay, rates.momentum, False)
