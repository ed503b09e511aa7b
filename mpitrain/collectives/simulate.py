"""Simulation of a schedule on all ranks in one process, with the same bits as over MPI."""

from collections.abc import Sequence

import numpy as np

from .algorithm import Algorithm, make_algorithm
from .lockstep import Program, run_lockstep
from .operators import OPERATORS, check_operator
from .step import Schedule, chunk_bounds, chunk_runs


def simulate(algorithm: Algorithm | Schedule, inputs: list[np.ndarray], op: str = "sum") -> list[np.ndarray]:
    """Return the result of each rank.

    Parameters
    ----------
    algorithm : Algorithm or Schedule
    inputs : list of P arrays of one shape and dtype, (n,)
        The buffer of each rank; not changed. For all_to_all, n is a multiple of P.
    op : str
        sum, max or min.

    Examples
    --------
    >>> from mpitrain.collectives import ring
    >>> [x.tolist() for x in simulate(ring, [np.arange(3.0), np.ones(3)])]
    [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    """
    algorithm = make_algorithm(algorithm)
    size = len(inputs)
    check_operator(op)
    num_chunks = algorithm.num_chunks(size)
    buffers = [lay_out(algorithm, rank, size, x) for rank, x in enumerate(inputs)]

    def read(rank: int, chunks: Sequence[int]) -> np.ndarray:
        buffer = buffers[rank]
        parts = [buffer[chunk_bounds(buffer.size, num_chunks, run)] for run in chunk_runs(tuple(chunks))]
        return np.concatenate(parts) if parts else buffer[:0]

    def write(receiver: Program, sender: Program, payload: np.ndarray) -> None:
        step, buffer, start = receiver.step, buffers[receiver.rank], 0
        assert step is not None
        for run in chunk_runs(step.recv):
            target = buffer[chunk_bounds(buffer.size, num_chunks, run)]
            arrived = payload[start : start + target.size]
            start += target.size
            if step.reduce:
                OPERATORS[op](target, arrived, out=target)
            else:
                target[...] = arrived

    run_lockstep(algorithm, size, read, write, algorithm.goal.same_chunks)
    return [result(algorithm, x, buffer) for x, buffer in zip(inputs, buffers, strict=True)]


def lay_out(algorithm: Algorithm, rank: int, size: int, x: np.ndarray) -> np.ndarray:
    """Return the memory that the chunks of ``algorithm`` are cut from, with ``x`` in it.

    A single buffer is a copy of ``x``. Several buffers (all_to_all) follow each other, and the chunk that a rank keeps
    is already in the second one.
    """
    if algorithm.buffers == 1:
        return x.copy()
    if x.size % size:
        raise ValueError(f"{algorithm.collective} of {x.size} elements over {size} ranks: must be a multiple")
    memory = np.empty(x.size * algorithm.buffers, x.dtype)
    memory[: x.size] = x
    own = chunk_bounds(x.size, size, rank)
    memory[x.size + own.start : x.size + own.stop] = x[own]
    return memory


def result(algorithm: Algorithm, x: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """Return the part of ``memory`` that holds the result."""
    return memory if algorithm.buffers == 1 else memory[x.size : 2 * x.size]
