"""The base of all optimizers: slots of state, and passes over slices of the arena in blocks that stay in cache."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np

from .. import cpu_kernels
from ..arena import HEADER, Arena
from ..errors import UserError
from ..ops.reduce import Sources
from ..ops.update import Block
from ..parameter import Parameter

BLOCK = 65536  # elements: few calls of NumPy, while a block and its slots still fit a second-level cache
KERNEL_BLOCK = 1 << 22  # for kernels, in C or on a GPU, which need no small blocks
RULE = "step", "update", "adapt"  # methods of which a class that has one of its own has another rule than its bases

SumOverRanks = Callable[[np.ndarray], np.ndarray]  # of a small array, in place


@dataclass(frozen=True, eq=False)
class ArenaShard:
    """The part of the arena that one rank updates, and the source of its gradients.

    Parameters
    ----------
    parts : tuple of slice
        Slices of the arena without overlap.
    sources : tuple of (arena.size,) arrays
        Their sum, in this order, is the gradient: one array that holds it, or the memory of several ranks.
    numbers : (n,) array, optional
        On the device of the weights: what ``Optimizer.step_numbers`` gives and ``ops.update.step_numbers`` completes.
    sum_over_ranks : callable(array) -> array or None
        Sums a small array over the ranks that hold the other parts; None if there are none.
    """

    parts: tuple[slice, ...]
    sources: tuple[np.ndarray, ...]
    sum_over_ranks: SumOverRanks | None = None
    numbers: np.ndarray | None = None


class Optimizer(ABC):
    """An update rule of ``arena.values`` by ``arena.gradients``.

    A subclass takes the arena and keyword arguments, its hyperparameters; it sets ``slot_names`` before it calls this
    ``__init__``, and implements ``update``. If that writes ``Block.copy`` too, as the ops of ``ops/update.py`` do, the
    class that has it says so by ``writes_copy``: a subclass with an ``update`` of its own does not inherit that.

    Parameters
    ----------
    arena : Arena
    weight_decay : float
    decay_all : bool
        Apply weight decay also to parameters with ``decay=False`` (biases, scales of normalization).

    Attributes
    ----------
    slots : dict of str to (arena.trained_size,) array
        The optimizer's state of each parameter, laid out as the arena; restored by writing into it.
        Memory that is never touched is never resident, so a rank that updates only its shard pays only for its shard.
    step_count : int
        Steps done; restored by assignment.
    default_lr : float
        The peak learning rate where none is given.
    sum_over_parts : callable(array) or None
        Sums an array (parameters, n) over the ranks that have the other parts of cut parameters, in the rows of these;
        None where parameters are whole. Set before the first step.
    """

    slot_names: tuple[str, ...] = ()
    writes_copy = False
    default_lr = 0.001
    sum_over_parts: SumOverRanks | None = None

    def __init__(self, arena: Arena, *, weight_decay: float = 0.0, decay_all: bool = False):
        if not 0 <= weight_decay < math.inf:
            raise UserError(f"weight decay must be finite and not negative, but it is {weight_decay}")
        self.arena = arena
        self.weight_decay, self.decay_all = float(weight_decay), decay_all
        self.step_count = 0
        self.slots = {name: np.zeros(arena.trained_size, arena.dtype, like=arena.values) for name in self.slot_names}
        in_numpy = isinstance(arena.values, np.ndarray) and cpu_kernels.C is None
        self._longest = BLOCK if in_numpy else KERNEL_BLOCK
        self._blocks: dict[ArenaShard, list[list[Block]]] = {}

    def step(self, lr: float, scale: float = 1.0, shard: ArenaShard | None = None, *, begun: bool = False) -> None:
        """Update the weights of ``shard``, by default all of them from ``arena.gradients``.

        Parameters
        ----------
        lr : float
        scale : float
            Multiplies the gradients: 1 / global weight, times the factor of clipping.
        shard : ArenaShard
            The same object in every step: its blocks are cached.
        begun : bool
            True where ``step_count`` has counted the step.
        """
        self.step_count += not begun
        for blocks in self.blocks(shard or self.whole):
            for block in blocks:
                self.update(block, float(lr), float(scale))
        if not self.keeps_copy:
            self.arena.values_changed()

    @property
    def updates_rows(self) -> bool:
        """True if rows of a table that a step has not met need no update: those whose gradient is 0 stay as they are.

        False unless overridden.
        """
        return False

    def update_rows(self, p: Parameter, numbers: np.ndarray, gradients: np.ndarray, lr: float, scale: float) -> None:
        """Update rows of a table whose gradient is kept as rows, after ``step``.

        Parameters
        ----------
        p : Parameter
        numbers : (U,) array
            Different rows of ``p.data``.
        gradients : (U, ...) array
        lr, scale : float
            As in ``step``.
        """
        tables = [p.data, *(slot[p.start : p.stop].reshape(p.shape) for slot in self.slots.values())]
        w, *slots = (table[numbers].reshape(-1) for table in tables)
        bounds = np.empty(0, np.int64)
        self.update(Block(w, Sources([gradients.reshape(-1)]), tuple(slots), bounds), float(lr), float(scale))
        for table, rows in zip(tables, (w, *slots), strict=True):
            table[numbers] = rows.reshape(gradients.shape)
        self.arena.values_changed()

    @property
    def is_queued(self) -> bool:
        """True if the class that has this rule has its ``step_numbers``, too."""
        return self._has_with_rule("step_numbers")

    @cached_property
    def keeps_copy(self) -> bool:
        """True if the class that has this rule says that it writes the copy of the weights."""
        return self.writes_copy and self._has_with_rule("writes_copy")

    def _has_with_rule(self, name: str) -> bool:
        """Return whether ``name`` belongs to the class that has the rule, or to a subclass of it."""
        for kind in type(self).__mro__:
            if name in vars(kind):
                return kind is not Optimizer
            if not vars(kind).keys().isdisjoint(RULE):
                return False
        return False

    def step_numbers(self, lr: float) -> tuple[float, ...]:
        """Return the numbers that a device's path of ``update`` takes from memory, in the step that has begun.

        The first is to be multiplied by the scale of the gradients. A rule without such a path has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no such path")  # nobody asks where ``is_queued`` is false

    @abstractmethod
    def update(self, block: Block, lr: float, scale: float) -> None:
        """Update one block; the sources are left as they are."""

    def decays(self, p: Parameter) -> bool:
        """Return whether weight decay applies to ``p``."""
        return p.decay or self.decay_all

    @cached_property
    def whole(self) -> ArenaShard:
        """All of the arena."""
        return ArenaShard((slice(HEADER, self.arena.size),), (self.arena.gradients,))

    def cut(self, shard: ArenaShard) -> list[slice]:
        """Return the pieces of ``shard`` that are updated in the same way; each is cut into blocks."""
        return [slice(max(part.start, HEADER), part.stop) for part in shard.parts]

    def blocks(self, shard: ArenaShard) -> list[list[Block]]:
        """Return the blocks of each piece of ``shard``, without the arena's header."""
        found = self._blocks.get(shard)
        if found is None:
            found = self._blocks[shard] = [
                [
                    self._block(start, min(start + self._longest, piece.stop), shard)
                    for start in range(piece.start, piece.stop, self._longest)
                ]
                for piece in self.cut(shard)
            ]
        return found

    def _block(self, start: int, stop: int, shard: ArenaShard) -> Block:
        gradients, numbers = Sources([source[start:stop] for source in shard.sources]), shard.numbers
        slots = tuple(slot[start:stop] for slot in self.slots.values())
        bounds = np.array([(p.start, p.stop) for p in self._decayed(start, stop)], np.int64).reshape(-1)
        copy = None if self.arena.copy is None else self.arena.copy.array[start:stop]
        return Block(self.arena.values[start:stop], gradients, slots, bounds, copy, numbers)

    def _decayed(self, start: int, stop: int) -> list[slice]:
        """Return the parts of ``start:stop`` that decay, counted from ``start``; neighbors make one part."""
        parts = []
        for decays, neighbors in groupby(self.arena.parameters, self.decays):
            run = list(neighbors)
            first, last = max(run[0].start, start), min(run[-1].stop, stop)
            if decays and self.weight_decay and first < last:
                parts.append(slice(first - start, last - start))
        return parts
