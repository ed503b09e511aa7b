"""The same bits on 1, 2, 4 ... ranks: gradients are those of V virtual shards of the batch, added in one fixed tree.

    shards   0   1   2   3   4   5   6   7        V = 8
             +---+   +---+   +---+   +---+
             +-------+       +-------+            on 2 ranks each adds four of them, on 4 ranks two;
             +---------------+                    what is left of the tree is the all-reduce

Every shard goes through the network by itself, so that products have the same shapes on any number of ranks. Each
parameter's gradients are added as they come, like the carries of a binary counter, and the buckets of the last shard
are sent while its backward still runs. Batch normalization takes its statistics over all shards, added in the same
tree, and so do routers of experts; then the shards of a rank go through the network side by side.

Cost: smaller products; lg(V / P) more gradients in memory, and with batch normalization the activations of all shards
of a rank at once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np

from ..arena import Arena, Parameter
from ..collectives import find
from ..collectives.reduction_order import adds_in_a_tree
from ..comm.group import Group
from ..context import Context
from ..data.loader import Batch
from ..errors import AgreedError
from ..layers import Layer
from ..layers.base import summing_layers
from ..step_header import StepHeader
from .cooperative import CooperativeThreads

FEW_BYTES = 128 * 1024  # up to here rounds cost more than bytes

Add = Callable[[Sequence[float]], None]
Work = Callable[[Batch, Context, Add], None]
"""work(batch, ctx, add) does forward and backward of a batch, and between them calls add(sums of the loss)."""


class TreeSum:
    """Sum of ``count`` (a power of two) arrays in a balanced tree, by a binary counter of partial sums.

    Parameters
    ----------
    like : (size,) array
        An array of the device, dtype and size of the summands.
    count : int

    Examples
    --------
    >>> tree = TreeSum(np.zeros(1), 4)
    >>> [(tree.add(0, slice(0, 1), x), x[0]) for x in np.array([[1.0], [2.0], [3.0], [4.0]])]
    [(False, 1.0), (False, 3.0), (False, 3.0), (True, 10.0)]
    """

    def __init__(self, like: np.ndarray, count: int):
        self._count = count
        self._levels = [np.empty_like(like) for _ in range(count.bit_length() - 1)]
        self._added: dict[int, int] = {}

    def clear(self) -> None:
        """Begin new sums."""
        self._added.clear()

    def add(self, key: int, where: slice, x: np.ndarray) -> bool:
        """Add the next ``x`` to the sum ``key`` at ``where``; return True when ``x`` holds the whole sum."""
        number = self._added.get(key, 0)
        self._added[key] = number + 1
        level = 0
        while number >> level & 1:
            np.add(self._levels[level][where], x, out=x)
            level += 1
        if number + 1 == self._count:
            return True
        self._levels[level][where] = x
        return False


class VirtualShards:
    """Runner of the virtual shards of one rank.

    Parameters
    ----------
    model : Layer
        Its batch normalizations and routers take their statistics over all shards of all ranks from now on.
    arena : Arena
        Whose ``on_ready`` starts the all-reduce.
    group : Group
    count : int
        V; a power of two that is a multiple of the number of ranks.
    ctx : Context
        Context of the trainer.
    """

    def __init__(self, model: Layer, arena: Arena, group: Group, count: int, ctx: Context):
        own = count // group.size
        self._arena, self._group = arena, group
        self._gradients, self._losses = TreeSum(arena.gradients, own), TreeSum(arena.header[StepHeader.TOTALS], own)
        self._threads = CooperativeThreads(self._sum_of_all)
        self._ctx = [ctx]
        norms = summing_layers(model)
        for layer in norms:
            layer.sum_over_ranks = self._sum_over_shards
        for _ in range(own - 1 if norms else 0):
            self._ctx.append(Context(seed=ctx.seed, dtype=ctx.dtype, device=ctx.device))
            self._ctx[-1].updates_statistics = False  # they are those of the first shard
        self._ready: list[Parameter] = []

    def run(self, batches: Sequence[Batch], work: Work) -> None:
        """Run ``work`` on all shards of this rank; the arena's gradients and header become their sums."""
        with self.summing() as hand_on:
            if len(self._ctx) == len(batches) > 1:
                pairs = zip(batches, self._ctx, strict=True)
                works = [partial(work, batch, ctx, self.add) for batch, ctx in pairs]
                self._threads.run(works, hand_on)
            else:
                for batch in batches:
                    work(batch, self._ctx[0], self.add)
                    hand_on()

    @contextmanager
    def summing(self) -> Iterator[Callable[[], None]]:
        """Add the gradients that the backward passes of a block write, shard after shard; so ``add`` does with losses.

        Yields a function that hands on complete sums, to be called now and then and at the end.
        """
        on_ready, self._arena.on_ready = self._arena.on_ready, self._written
        self._gradients.clear()
        self._losses.clear()

        def hand_on() -> None:
            while self._ready and on_ready is not None:
                on_ready(self._ready.pop(0))

        try:
            yield hand_on
        finally:
            self._arena.on_ready = on_ready

    def add(self, sums: Sequence[float]) -> None:
        """Add the totals of the next shard's loss."""
        total = np.array(sums, self._arena.dtype)
        if self._losses.add(0, StepHeader.TOTALS, total):
            self._arena.header[StepHeader.TOTALS] = total

    def _written(self, p: Parameter) -> None:
        if self._gradients.add(p.index, slice(p.start, p.stop), p.grad.reshape(-1)):
            self._ready.append(p)
        else:
            p.forget()

    def _sum_over_shards(self, array: np.ndarray) -> np.ndarray:
        if self._threads.running:
            self._threads.sum(array)
        else:
            array[...] = self._sum_of_all([array])
        return array

    def _sum_of_all(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        return tree_sum(self._group.all_gather(tree_sum(arrays)))


def tree_sum(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return the sum of a power of two of arrays, in a balanced tree."""
    arrays = list(arrays)
    while len(arrays) > 1:
        arrays = [a + b for a, b in zip(arrays[::2], arrays[1::2], strict=True)]
    return arrays[0]


def tree_all_reduce(group: Group, wanted: str, num_bytes: int) -> str:
    """Return ``wanted`` if it adds in a balanced tree; otherwise an all-reduce that does, with a note."""
    if group.size == 1:
        return wanted
    best = "halving_doubling" if num_bytes > FEW_BYTES else "recursive_doubling"
    if wanted in ("auto", best):
        return best
    if wanted not in ("native", "shared") and adds_in_a_tree(find(wanted), group.size):
        return wanted
    group.job.note(f"{wanted} adds in an order that depends on the ranks: --reproducible takes {best}")
    return best


def check_shards(count: int, size: int) -> None:
    """Raise an AgreedError if ``count`` shards cannot be divided among ``size`` ranks."""
    if count and count % size:
        raise AgreedError(f"--reproducible {count} cannot run on {size} ranks: their number must divide {count}")
