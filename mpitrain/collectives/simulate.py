"""Run an all-reduce schedule on all ranks in one process, bit for bit as it runs over MPI."""

from typing import Any

import numpy as np

from .lockstep import Program, run_lockstep
from .step import Schedule, chunk_bounds


def simulate(schedule: Schedule, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Return what each rank holds at the end.

    Parameters
    ----------
    schedule : Schedule
    inputs : list of P arrays of one shape and dtype, (n,)
        The buffer of each rank; not changed.

    Examples
    --------
    >>> from mpitrain.collectives import ring
    >>> [x.tolist() for x in simulate(ring, [np.arange(3.0), np.ones(3)])]
    [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    """
    size = len(inputs)
    buffers = [x.copy() for x in inputs]

    def read(rank: int, chunks: range) -> np.ndarray:
        return buffers[rank][chunk_bounds(buffers[rank].size, size, chunks)].copy()

    def write(program: Program, payload: Any) -> None:
        step, buffer = program.step, buffers[program.rank]
        assert step is not None
        target = buffer[chunk_bounds(buffer.size, size, step.recv)]
        if step.reduce:
            np.add(target, payload, out=target)
        else:
            target[...] = payload

    run_lockstep(schedule, size, read, write)
    return buffers
