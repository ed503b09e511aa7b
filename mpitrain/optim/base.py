"""What all optimizers share: slots beside the arena, and a pass over a slice of it in blocks that stay in cache."""

from itertools import groupby
from typing import NamedTuple

import numpy as np

from ..arena import HEADER, Arena, Parameter
from ..errors import UserError

BLOCK = 65536  # elements: few enough calls of NumPy, and a block and its slots still fit a second-level cache


class Block(NamedTuple):
    """Views of one block of the arena, (n,) each with n <= BLOCK, sliced once and used in every step."""

    w: np.ndarray
    grad: np.ndarray
    slots: tuple[np.ndarray, ...]
    g: np.ndarray  # scratch
    scratch: np.ndarray
    decayed: list[tuple[np.ndarray, np.ndarray, np.ndarray]]  # the parts of (w, g, scratch) that decay applies to


class Optimizer:
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
        Memory never touched is never resident, so a rank that updates only its shard pays only for its shard.
    step_count : int
        Steps done; restored by assignment.
    whole_parameters : bool
        True when a slice must not cut through a parameter.
    """

    slot_names: tuple[str, ...] = ()
    whole_parameters = False

    def __init__(self, arena: Arena, *, weight_decay: float = 0.0, decay_all: bool = False):
        if weight_decay < 0:
            raise UserError(f"weight decay must not be negative, but it is {weight_decay}")
        self.arena = arena
        self.weight_decay, self.decay_all = float(weight_decay), decay_all
        self.step_count = 0
        self.slots = {name: np.zeros(arena.size, arena.dtype, like=arena.values) for name in self.slot_names}
        self._scratch = np.empty((2, BLOCK), arena.dtype, like=arena.values)
        self._blocks: dict[tuple[int, int], list[Block]] = {}

    def step(
        self, lr: float, scale: float = 1.0, start: int = 0, stop: int | None = None, *, count: bool = True
    ) -> None:
        """Update the slice ``start:stop`` of the arena (all of it by default).

        Parameters
        ----------
        lr : float
        scale : float
            Multiplies the gradients: 1 / global weight, times the factor of clipping.
        start, stop : int
            A bucket or a shard.
        count : bool
            False when another slice has already counted this step.
        """
        self.step_count += count
        for block in self.blocks(start, self.arena.size if stop is None else stop):
            self.update(block, float(lr), float(scale))

    def update(self, block: Block, lr: float, scale: float) -> None:
        """Update one block; ``grad`` is left as it is."""
        raise NotImplementedError(f"{type(self).__name__}.update")

    def decays(self, p: Parameter) -> bool:
        """Return whether weight decay applies to ``p``."""
        return p.decay or self.decay_all

    def blocks(self, start: int, stop: int) -> list[Block]:
        """Return the blocks of a slice of the arena, without its header."""
        found = self._blocks.get((start, stop))
        if found is None:
            firsts = range(max(start, HEADER), stop, BLOCK)
            found = self._blocks[start, stop] = [self._block(first, min(first + BLOCK, stop)) for first in firsts]
        return found

    def _block(self, start: int, stop: int) -> Block:
        w, grad = self.arena.values[start:stop], self.arena.gradients[start:stop]
        g, scratch = self._scratch[:, : stop - start]
        decayed = [(w[part], g[part], scratch[part]) for part in self._decayed(start, stop)]
        return Block(w, grad, tuple(slot[start:stop] for slot in self.slots.values()), g, scratch, decayed)

    def _decayed(self, start: int, stop: int) -> list[slice]:
        """Return the parts of ``start:stop`` that decay, counted from ``start``; neighbours make one part."""
        parts = []
        for decays, neighbours in groupby(self.arena.parameters, self.decays):
            run = list(neighbours)
            first, last = max(run[0].start, start), min(run[-1].stop, stop)
            if decays and self.weight_decay and first < last:
                parts.append(slice(first - start, last - start))
        return parts


def scaled_gradient(block: Block, scale: float, weight_decay: float) -> np.ndarray:
    """Write scale grad + weight_decay w (where it decays) to ``block.g`` and return it."""
    np.multiply(block.grad, scale, out=block.g)
    for w, g, scratch in block.decayed:
        np.multiply(w, weight_decay, out=scratch)
        np.add(g, scratch, out=g)
    return block.g
