"""A schedule that is found, not written: by a list scheduler under a bound on memory."""

import functools
from collections.abc import Iterator

from ...errors import UserError
from ..pipeline import pipeline
from ..task import KINDS, Task


def most_held(size: int, memory: float) -> int:
    """Return the activations, of one stage and microbatch, that a rank may hold: two are needed to go on."""
    return max(2, int(2 * size * memory + 1e-9))


@pipeline(live=lambda size, num_microbatches, memory: min(2 * num_microbatches, most_held(size, memory)) / 2)
def greedy(rank: int, size: int, num_microbatches: int, memory: float = 1.0) -> Iterator[Task]:
    """A V of two stages on each rank, with dw put off, found under a bound on memory: 1 as in 1F1B, 0.5 half of it.

    Rank r has stages r and 2P-1-r, so the first and the last stage are on one rank. A rank that is free takes a B, else
    an F if there is room, else a W, always that of the later stage first. The first stages leave room for one F of the
    later ones: the oldest microbatch can always go on, so the rule never runs into a deadlock.

    Bubble: found, not promised. With memory 1 about (P-1) / (6M+P-1) for M >= P, which no V can undercut, as its last
    rank begins (P-1)/2 late.
    Live: memory times P, and at least 1.
    Source: the placement, Qi et al. 2024 (ZB-V, arXiv 2401.10241), and with less memory, 2405.15362 (V-Half, V-Min);
    list scheduling, Graham 1966.
    """
    if not 0.0 < memory < 1e6:
        raise UserError(f"memory is {memory:g}, but must be more than 0 (1 is the memory of 1F1B)")
    yield from _found(size, num_microbatches, most_held(size, memory))[rank]


@functools.lru_cache(maxsize=4)
def _found(size: int, num_microbatches: int, limit: int) -> list[list[Task]]:
    """Return the tasks of each rank, where each takes one unit of time: all ranks choose one in each unit."""
    tasks: list[list[Task]] = [[] for _ in range(size)]
    done = {kind: [0] * (2 * size) for kind in KINDS}  # microbatches, of each kind and stage
    held = [0] * size
    left = 6 * size * num_microbatches
    while left:
        chosen = [_choose(rank, size, num_microbatches, done, limit - held[rank]) for rank in range(size)]
        for rank, task in enumerate(chosen):
            if task is not None:
                tasks[rank].append(task)
                done[task.kind][task.stage] += 1
                held[rank] += {"F": 1, "B": 0, "W": -1}[task.kind]
                left -= 1
    return tasks


def _choose(rank: int, size: int, num_microbatches: int, done: dict[str, list[int]], room: int) -> Task | None:
    """Return the next task of ``rank``; None if it has to wait."""
    last = 2 * size - 1
    f, b, w = done["F"], done["B"], done["W"]
    for stage in (last - rank, rank):
        i = b[stage]
        if i < f[stage] and (stage == last or i < b[stage + 1]):
            return Task("B", stage, i)
    for stage in (last - rank, rank):
        i = f[stage]
        if room > (stage == rank) and i < (f[stage - 1] if stage else num_microbatches):
            return Task("F", stage, i)
    for stage in (last - rank, rank):
        if w[stage] < b[stage]:
            return Task("W", stage, w[stage])
    return None
