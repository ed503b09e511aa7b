"""Simulation of a schedule on all ranks in one process, with the same bits as over MPI."""

from collections.abc import Sequence

import numpy as np

from .algorithm import Algorithm, make_algorithm
from .layout import Counts, Layout
from .lockstep import Program, run_lockstep
from .operators import OPERATORS, check_operator
from .step import Schedule


def simulate(
    algorithm: Algorithm | Schedule,
    inputs: list[np.ndarray],
    op: str = "sum",
    counts: Sequence[Counts] | None = None,
) -> list[np.ndarray]:
    """Return the result of each rank.

    Parameters
    ----------
    algorithm : Algorithm or Schedule
    inputs : list of P arrays of one shape and dtype, (n,)
        The buffer of each rank; not changed. For all_to_all, n is a multiple of P. With ``counts``, lengths may differ.
    op : str
        sum, max or min.
    counts : sequence of Counts, optional
        Lengths of the chunks of each rank (see ``Layout``).

    Examples
    --------
    >>> from mpitrain.collectives import ring
    >>> [x.tolist() for x in simulate(ring, [np.arange(3.0), np.ones(3)])]
    [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    """
    algorithm = make_algorithm(algorithm)
    size = len(inputs)
    check_operator(op)
    chosen: Sequence[Counts | None] = counts or [None] * size
    layouts = [Layout(algorithm, size, x.size, of) for x, of in zip(inputs, chosen, strict=True)]
    memories = [_fill(algorithm, rank, x, layouts[rank]) for rank, x in enumerate(inputs)]

    def read(rank: int, chunks: Sequence[int]) -> np.ndarray:
        parts = [memories[rank][number][bounds] for number, bounds in layouts[rank].spans(tuple(chunks))]
        return np.concatenate(parts) if parts else inputs[rank][:0]

    def write(receiver: Program, sender: Program, payload: np.ndarray) -> None:
        step, start = receiver.step, 0
        assert step is not None
        for number, bounds in layouts[receiver.rank].spans(step.recv):
            target = memories[receiver.rank][number][bounds]
            arrived = payload[start : start + target.size]
            start += target.size
            if step.reduce:
                OPERATORS[op](target, arrived, out=target)
            else:
                target[...] = arrived

    run_lockstep(algorithm, size, read, write, algorithm.goal.same_chunks)
    return [memory[min(1, len(memory) - 1)] for memory in memories]


def _fill(algorithm: Algorithm, rank: int, x: np.ndarray, layout: Layout) -> list[np.ndarray]:
    """Return the buffers of a rank at the start, the first of them a copy of ``x``."""
    memory = [x.copy(), *(np.empty(size, x.dtype) for size in layout.sizes[1:])]
    if algorithm.goal.keeps_own:
        source, target = layout.own(rank)
        memory[1][target] = x[source]
    return memory
