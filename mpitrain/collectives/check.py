"""Check an all-reduce schedule by provenance: every chunk ends with every rank's contribution exactly once.

Instead of numbers, the messages carry counts: how often each rank's first value is part of a chunk. That finds
what a test with numbers can miss (two errors that cancel, a chunk that is empty for this length).
"""

from typing import Any

import numpy as np

from .lockstep import Program, ScheduleError, run_lockstep
from .step import Schedule, as_chunks


def check_all_reduce(schedule: Schedule, max_ranks: int) -> None:
    """Check ``schedule`` for every P from 1 to ``max_ranks``: no more than that is claimed.

    Raises
    ------
    ScheduleError
        Names P, and the rank, chunk and round of the first thing that is wrong.
    """
    for size in range(1, max_ranks + 1):
        try:
            _check_for(schedule, size)
        except ScheduleError as error:
            raise ScheduleError(f"P = {size}: {error}") from None


def _check_for(schedule: Schedule, size: int) -> None:
    # held[rank, chunk, origin]: how many times origin's contribution is part of rank's chunk
    held = np.zeros((size, size, size), np.int64)
    for rank in range(size):
        held[rank, :, rank] = 1

    def read(rank: int, chunks: range) -> np.ndarray:
        return held[rank, chunks.start : chunks.stop].copy()

    def write(program: Program, payload: Any) -> None:
        step = program.step
        assert step is not None
        chunks = as_chunks(step.recv)
        target = held[program.rank, chunks.start : chunks.stop]
        if not step.reduce:
            target[...] = payload
            return
        target += payload
        doubled = np.argwhere(target > 1)
        if doubled.size:
            chunk, origin = doubled[0]
            raise ScheduleError(
                f"rank {program.rank} adds rank {origin}'s contribution to chunk {chunks.start + chunk} a second "
                f"time in its round {program.round} (received from rank {step.recv_from})."
            )

    run_lockstep(schedule, size, read, write)
    missing = np.argwhere(held == 0)
    if missing.size:
        rank, chunk, origin = missing[0]
        raise ScheduleError(f"rank {rank} ends without rank {origin}'s contribution in chunk {chunk}.")
