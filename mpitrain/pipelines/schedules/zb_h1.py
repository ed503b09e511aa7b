"""ZB-H1."""

from collections.abc import Iterator

from ..pipeline import pipeline
from ..task import Task
from .one_f_one_b import one_f_one_b


def _bubble(size: int, num_microbatches: int) -> float:
    idle = size - 1 + max(0, size - num_microbatches)
    return idle / (3 * num_microbatches + idle)


@pipeline(bubble=_bubble, live=lambda size, num_microbatches: min(num_microbatches, size))
def zb_h1(rank: int, size: int, num_microbatches: int) -> Iterator[Task]:
    """1F1B with dw put off: a third of its bubble; every rank holds as much as the first one of 1F1B.

    Rank r owes r of its dw. Where it would wait for a gradient, it works them off.

    Bubble: (P-1) / (3M+P-1); for M < P, (2P-1-M) / (2M+2P-1).
    Live: min(M, P).
    Source: Qi et al. 2024, "Zero bubble pipeline parallelism" (arXiv 2401.10241).
    """
    for task in one_f_one_b(rank, size, num_microbatches):
        yield task
        if task.kind == "B" and task.microbatch >= rank:
            yield Task("W", rank, task.microbatch - rank)
    yield from (Task("W", rank, i) for i in range(max(0, num_microbatches - rank), num_microbatches))
