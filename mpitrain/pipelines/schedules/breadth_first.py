"""Breadth-first."""

from collections.abc import Iterator

from ..pipeline import pipeline
from ..task import Task
from .interleaved import check_chunks, looped_bubble


@pipeline(bubble=looped_bubble, live=lambda num_microbatches: num_microbatches)
def breadth_first(rank: int, size: int, num_microbatches: int, chunks: int = 2) -> Iterator[Task]:
    """All microbatches through one chunk after the other: the weights of a chunk are in use in one stretch only.

    The placement is that of the interleaved schedule: stage v P + r on rank r.

    Bubble: (P-1) / (VM+P-1), as interleaved.
    Live: M.
    Source: Lamy-Poirier 2023, "Breadth-first pipeline parallelism" (arXiv 2211.05953).
    """
    check_chunks(chunks)
    for chunk in range(chunks):
        yield from (Task("F", chunk * size + rank, i) for i in range(num_microbatches))
    for chunk in reversed(range(chunks)):
        yield from (Task("B", chunk * size + rank, i) for i in range(num_microbatches))
