"""Interleaved 1F1B, and the rules that looped placements share."""

from collections.abc import Iterator
from itertools import pairwise

from ...errors import UserError
from ..pipeline import pipeline
from ..task import Task


def looped_bubble(size: int, num_microbatches: int, chunks: int) -> float:
    """Return the bubble of V = ``chunks`` laps around the ranks: a lap takes max(M, P), the last M + P - 1."""
    total = (chunks - 1) * max(num_microbatches, size) + num_microbatches + size - 1
    return 1.0 - chunks * num_microbatches / total


def check_chunks(chunks: int) -> None:
    """Raise UserError unless there is a chunk."""
    if chunks < 1:
        raise UserError(f"chunks is {chunks}, but a rank has one stage at least")


def largest_group(size: int, num_microbatches: int) -> int:
    """Return the length of the longest of the groups in which microbatches go through the chunks."""
    return -(-num_microbatches // max(1, num_microbatches // size))


@pipeline(
    bubble=looped_bubble,
    live=lambda rank, size, num_microbatches, chunks: (
        min(
            num_microbatches * chunks,
            2 * (size - 1 - rank) + (chunks - 1) * largest_group(size, num_microbatches) + 1,
        )
        / chunks
    ),
)
def interleaved(rank: int, size: int, num_microbatches: int, chunks: int = 2) -> Iterator[Task]:
    """1F1B with V stages on each rank, stage v P + r on rank r: a bubble 1/V as long, for V times the messages.

    Microbatches go through a rank's chunks in groups of P; where M is not a multiple of P, in groups of nearly equal
    length, none shorter than P.

    Bubble: (P-1) / (VM+P-1); for M < P, 1 - VM / ((V-1)P + M+P-1).
    Live: min(M, ((V-1)G + 2(P-1-r) + 1) / V) on rank r, where G is the length of the longest group.
    Source: Narayanan et al. 2021, "Efficient large-scale language model training on GPU clusters using Megatron-LM"
    (arXiv 2104.04473).
    """
    check_chunks(chunks)
    groups = max(1, num_microbatches // size)
    edges = [group * num_microbatches // groups for group in range(groups + 1)]
    order = [(chunk, i) for first, last in pairwise(edges) for chunk in range(chunks) for i in range(first, last)]
    forward = [Task("F", chunk * size + rank, i) for chunk, i in order]
    backward = [Task("B", (chunks - 1 - chunk) * size + rank, i) for chunk, i in order]
    warmup = min(len(order), 2 * (size - 1 - rank) + (chunks - 1) * largest_group(size, num_microbatches))
    yield from forward[:warmup]
    for i in range(len(order) - warmup):
        yield forward[warmup + i]
        yield backward[i]
    yield from backward[len(order) - warmup :]
