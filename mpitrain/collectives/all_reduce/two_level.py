"""Two-level all-reduce: inside each node first, so that only a share of the vector crosses between nodes.

With ``inner=ring`` or ``inner=halving`` the g ranks of a node reduce-scatter, rank i of every node all-reduces its
share with rank i of the others by ``outer``, and the node all-gathers. With ``inner=tree`` or ``inner=chain`` the
node reduces to its first rank, the first ranks all-reduce, and each broadcasts. Ranks r g .. r g + g - 1 are a node;
those of a last node that is not full hand their vector to the node before and get the result back.

Cost (inner ring, outer ring, N nodes): 2(g-1) alpha_i + 2(N-1) alpha_e + 2(g-1)/g n beta_i + 2(N-1)/N n/g beta_e.
Source: Hasanov & Lastovetsky 2017, "Hierarchical redesign of classic MPI reduction algorithms".
"""

from collections.abc import Callable, Iterator

from ...errors import UserError
from ..algorithm import Algorithm, algorithm
from ..combinators import relabeled
from ..find import find
from ..step import Chunks, Step, as_chunks, chunk_runs

INNER = {
    "ring": ("reduce_scatter/ring", "all_gather/ring"),
    "halving": ("reduce_scatter/recursive_halving", "all_gather/recursive_doubling"),
    "tree": ("reduce/binomial", "broadcast/binomial"),
    "chain": ("reduce/chain", "broadcast/chain"),
}


class _Parts:
    """The inner and outer algorithms for P ranks."""

    def __init__(self, size: int, node: int, inner: str, outer: str) -> None:
        if inner not in INNER:
            raise UserError(f"two_level has no inner {inner!r}; there are {', '.join(INNER)}")
        self.node = min(node, size)
        self.num_nodes = size // self.node
        self.left_over = size % self.node
        self.collect, self.spread = (find(name) for name in INNER[inner])
        self.outer = find(outer)
        self.scattered = self.collect.collective == "reduce_scatter"
        self.shares = self.node if self.scattered else 1
        inside = 1 if self.scattered else self.collect.num_chunks(self.node)
        across = self.outer.num_chunks(self.num_nodes)
        self.share_chunks = inside * across  # of one share; `inside` and `across` are two ways to cut it
        self.num_chunks = self.shares * self.share_chunks

    def cost(self, of: Callable[[Algorithm], Callable[[int], float] | None], extra: float, share: float) -> float:
        """Return the sum of the parts' promises."""
        total = extra if self.left_over else 0.0
        for part, size, weight in (
            (self.collect, self.node, 1.0),
            (self.outer, self.num_nodes, share),
            (self.spread, self.node, 1.0),
        ):
            promise = of(part)
            total += weight * promise(size) if promise else float("inf")
        return total


@algorithm(
    num_chunks=lambda size, node, inner, outer: _Parts(size, node, inner, outer).num_chunks,
    rounds=lambda size, node, inner, outer: _Parts(size, node, inner, outer).cost(lambda a: a.rounds, 2, 1),
    bytes=lambda size, node, inner, outer: _bytes(_Parts(size, node, inner, outer), lambda a: a.bytes),
    reductions=lambda size, node, inner, outer: _bytes(_Parts(size, node, inner, outer), lambda a: a.reductions),
)
def two_level(rank: int, size: int, node: int = 4, inner: str = "ring", outer: str = "ring") -> Iterator[Step]:
    """Yield the steps of ``rank``."""
    parts = _Parts(size, node, inner, outer)
    everything, core = range(parts.num_chunks), size - parts.left_over
    if rank >= core:
        yield Step(send_to=rank - parts.node, send=everything)
        yield Step(recv_from=rank - parts.node, recv=everything)
        return
    proxy = rank + parts.node if rank + parts.node in range(core, size) else None
    if proxy is not None:
        yield Step(recv_from=proxy, recv=everything, reduce=True)
    first, place = rank // parts.node * parts.node, rank % parts.node
    yield from relabeled(parts.collect(place, parts.node), lambda i: first + i, _scaled(parts, parts.collect))
    if place < parts.shares:
        across = parts.outer(rank // parts.node, parts.num_nodes)
        start = place * parts.share_chunks
        yield from relabeled(across, lambda j: j * parts.node + place, _outer_chunks(parts, start))
    yield from relabeled(parts.spread(place, parts.node), lambda i: first + i, _scaled(parts, parts.spread))
    if proxy is not None:
        yield Step(send_to=proxy, send=everything)


def _bytes(parts: _Parts, of: Callable[[Algorithm], Callable[[int], float] | None]) -> float:
    return parts.cost(of, 1.0, 1 / parts.shares)


def _scaled(parts: _Parts, part: Algorithm) -> Callable[[Chunks], Chunks]:
    """Map the chunks of an inner part to those of the whole, of which each contains several."""
    scale = parts.num_chunks // part.num_chunks(parts.node)
    return lambda chunks: _grown(chunks, scale, 0)


def _outer_chunks(parts: _Parts, start: int) -> Callable[[Chunks], Chunks]:
    scale = parts.share_chunks // parts.outer.num_chunks(parts.num_nodes)
    return lambda chunks: _grown(chunks, scale, start)


def _grown(chunks: Chunks, scale: int, start: int) -> Chunks:
    if isinstance(chunks, tuple):
        return tuple(range(start + run.start * scale, start + run.stop * scale) for run in chunk_runs(chunks))
    span = as_chunks(chunks)
    return range(start + span[0] * scale, start + (span[-1] + 1) * scale) if span else range(start, start)
