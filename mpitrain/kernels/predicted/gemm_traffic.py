"""Bytes of factors that gemm_wgmma reads from memory: python -m mpitrain.kernels.predicted.gemm_traffic

By a model of the L2 cache that holds what was used last, as much as ``Gpu.l2_held``. All clusters are taken to do their
steps at the same time. The program compares ways to share K out: plain stream-K, where each cluster takes the next
steps of all tiles in a row, and the one of stream_k.py, with the pieces of a share front to back, and back to front.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

from ..plan import ceil_div
from ..stream_k import STEP, StreamK, split_k, stream_k
from .rates import H100, Gpu

BAND = 8  # rows of tiles in a band of tile_origin (kernels/products/gemm.cuh)

Panel = tuple[str, int, int, int]
"""A factor, its matrix in the batch, its row (column) of tiles, and the step of K: what a cluster fetches at once."""


def tile_origin(number: int, across: int, down: int) -> tuple[int, int]:
    """Return the row and the column of a tile, as kernels number them.

    >>> [tile_origin(i, across=2, down=9) for i in (0, 1, 8, 15, 16, 17)]
    [(0, 0), (1, 0), (0, 1), (7, 1), (8, 0), (8, 1)]
    """
    first = number // (BAND * across) * BAND
    height, within = min(BAND, down - first), number % (BAND * across)
    return first + within % height, within // height


class Sizes(NamedTuple):
    """A product (M, K) (K, N) in bf16, in tiles of a cluster."""

    m: int
    n: int
    tile_m: int
    tile_n: int


def panels(sizes: Sizes, stream: StreamK, cluster: int, clusters: int, forwards: bool) -> Iterator[tuple[Panel, Panel]]:
    """Yield what a cluster fetches, step by step."""
    across, down = ceil_div(sizes.n, sizes.tile_n), ceil_div(sizes.m, sizes.tile_m)
    for item in range(cluster, stream.items, clusters):
        pieces = stream.pieces(item)
        for piece in reversed(pieces) if forwards else pieces:
            index, number = divmod(piece.tile, across * down)
            row, column = tile_origin(number, across, down)
            for step in range(piece.first, piece.stop):
                yield ("a", index, row, step), ("b", index, column, step)


def bytes_from_memory(sizes: Sizes, stream: StreamK, clusters: int, gpu: Gpu, *, forwards: bool = False) -> int:
    """Return the bytes of the factors that ``clusters`` at once read from memory.

    ``forwards``: the pieces of a share in the order of K, which is not how the kernel does it.
    """
    rows = {"a": min(sizes.tile_m, sizes.m), "b": min(sizes.tile_n, sizes.n)}
    held: OrderedDict[Panel, int] = OrderedDict()
    used = missed = 0
    for at_once in zip_longest(*(panels(sizes, stream, i, clusters, forwards) for i in range(clusters))):
        for panel in (panel for pair in at_once if pair is not None for panel in pair):
            if panel in held:
                held.move_to_end(panel)
                continue
            held[panel] = 2 * STEP * rows[panel[0]]
            used += held[panel]
            missed += held[panel]
            while used > gpu.l2_held:
                used -= held.popitem(last=False)[1]
    return missed


def plain_stream_k(tiles: int, steps: int, workers: int, tile: tuple[int, int]) -> StreamK:
    """Return stream-K as it was published: no parts, all of K is the stream."""
    share = ceil_div(tiles * steps, workers)
    return StreamK(0, tiles, 0, 0, steps, share, ceil_div(tiles * steps, share), *tile)


def main() -> None:
    """Print the table of docs/benchmarks/gpu-predicted.md: megabytes."""
    print("| dw | K | each once | K in 2 | plain stream-K | that, back to front | parts, tails front to back | ours |")
    print("|---|---|---|---|---|---|---|---|")
    tile, clusters = (256, 256), H100.processors // 2
    for name, m, n in (("qkv", 768, 2304), ("projection", 768, 768), ("up", 768, 3072), ("down", 3072, 768)):
        k, sizes = 16384, Sizes(m, n, *tile)
        tiles, steps = ceil_div(m, 256) * ceil_div(n, 256), k // STEP
        ours = stream_k(tiles, steps, clusters, tile)
        assert ours is not None
        plain = plain_stream_k(tiles, steps, clusters, tile)
        ways = ((split_k(tiles, steps, 2, tile), False), (plain, True), (plain, False), (ours, True), (ours, False))
        found = [bytes_from_memory(sizes, how, clusters, H100, forwards=forwards) for how, forwards in ways]
        columns = [2 * k * (m + n), *found]
        print(f"| GPT-2 {name} | {k} | " + " | ".join(f"{each / 1e6:.0f}" for each in columns) + " |")


if __name__ == "__main__":
    main()
