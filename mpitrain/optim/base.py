"""What all optimizers share: slots beside the arena, and a pass over slices of it in blocks that stay in cache."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from .. import native
from ..arena import HEADER, Arena, Parameter
from ..errors import UserError
from ..ops.update import Block, addresses_of

BLOCK = 65536  # elements: few enough calls of NumPy, and a block and its slots still fit a second-level cache
KERNEL_BLOCK = 1 << 22  # for kernels, in C or on a GPU, which need no cutting: few calls, and little scratch

SumOverRanks = Callable[[np.ndarray], np.ndarray]  # of a small array, in place


@dataclass(frozen=True, eq=False)
class Share:
    """What one rank updates, and where the gradients for it come from.

    Parameters
    ----------
    parts : tuple of slice
        Of the arena; no two overlap.
    sources : tuple of (arena.size,) arrays
        Their sum, in this order, is the gradient: one array that holds it, or the memory of several ranks.
    sum_over_ranks : callable(array) -> array or None
        Sums a small array over the ranks that hold the other parts; None if there are none.
    """

    parts: tuple[slice, ...]
    sources: tuple[np.ndarray, ...]
    sum_over_ranks: SumOverRanks | None = None


class Optimizer(ABC):
    """Update ``arena.values`` from ``arena.gradients``.

    Parameters
    ----------
    arena : Arena
    weight_decay : float
    decay_all : bool
        Decay also the parameters that say ``decay=False`` (biases, scales of normalisation).

    Attributes
    ----------
    slots : dict of str to (arena.size,) array
        What the optimizer remembers of each parameter, laid out as the arena is; restored by writing into it.
        Memory never touched is never resident, so a rank that updates only its share pays only for its share.
    step_count : int
        Steps done; restored by assignment.
    """

    slot_names: tuple[str, ...] = ()

    def __init__(self, arena: Arena, *, weight_decay: float = 0.0, decay_all: bool = False):
        if weight_decay < 0:
            raise UserError(f"weight decay must not be negative, but it is {weight_decay}")
        self.arena = arena
        self.weight_decay, self.decay_all = float(weight_decay), decay_all
        self.step_count = 0
        self.slots = {name: np.zeros(arena.size, arena.dtype, like=arena.values) for name in self.slot_names}
        in_numpy = isinstance(arena.values, np.ndarray) and native.kernels is None
        self._longest = min(arena.size, BLOCK if in_numpy else KERNEL_BLOCK)
        self._scratch = np.empty((2, self._longest), arena.dtype, like=arena.values)
        self._whole: Share | None = None
        self._blocks: dict[Share, list[list[Block]]] = {}

    def step(self, lr: float, scale: float = 1.0, share: Share | None = None) -> None:
        """Update the weights of ``share``, by default all of them from ``arena.gradients``.

        Parameters
        ----------
        lr : float
        scale : float
            Multiplies the gradients: 1 / global weight, times the factor of clipping.
        share : Share
            The same object in every step: what was cut for it is kept.
        """
        self.step_count += 1
        for blocks in self.blocks(share or self.whole):
            for block in blocks:
                self.update(block, float(lr), float(scale))

    @abstractmethod
    def update(self, block: Block, lr: float, scale: float) -> None:
        """Update one block; the sources are left as they are."""

    def decays(self, p: Parameter) -> bool:
        """Return whether weight decay applies to ``p``."""
        return p.decay or self.decay_all

    @property
    def whole(self) -> Share:
        """All of the arena."""
        if self._whole is None:
            self._whole = Share((slice(HEADER, self.arena.size),), (self.arena.gradients,))
        return self._whole

    def cut(self, share: Share) -> list[slice]:
        """Return the pieces of ``share`` that are updated alike; each is cut into blocks."""
        return [slice(max(part.start, HEADER), part.stop) for part in share.parts]

    def blocks(self, share: Share) -> list[list[Block]]:
        """Return the blocks of each piece of ``share``, without the arena's header."""
        found = self._blocks.get(share)
        if found is None:
            found = self._blocks[share] = [
                [
                    self._block(start, min(start + self._longest, piece.stop), share.sources)
                    for start in range(piece.start, piece.stop, self._longest)
                ]
                for piece in self.cut(share)
            ]
        return found

    def _block(self, start: int, stop: int, sources: tuple[np.ndarray, ...]) -> Block:
        w, gradients = self.arena.values[start:stop], tuple(source[start:stop] for source in sources)
        g, scratch = self._scratch[:, : stop - start]
        parts = self._decayed(start, stop)
        decayed = [(w[part], g[part], scratch[part]) for part in parts]
        slots = tuple(slot[start:stop] for slot in self.slots.values())
        addresses, bounds = addresses_of(gradients), np.array([(p.start, p.stop) for p in parts], np.int64).reshape(-1)
        return Block(w, gradients, slots, g, scratch, decayed, addresses, bounds)

    def _decayed(self, start: int, stop: int) -> list[slice]:
        """Return the parts of ``start:stop`` that decay, counted from ``start``; neighbours make one part."""
        parts = []
        for decays, neighbours in groupby(self.arena.parameters, self.decays):
            run = list(neighbours)
            first, last = max(run[0].start, start), min(run[-1].stop, stop)
            if decays and self.weight_decay and first < last:
                parts.append(slice(first - start, last - start))
        return parts
