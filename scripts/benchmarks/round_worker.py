"""One rank of scripts/bench round: LIBRARY RESULT; rank 0 writes RESULT, a list of rows."""

import ctypes
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mpi4py import MPI

from mpitrain.collectives import Step, algorithm, make_algorithm
from mpitrain.comm.schedule.plan import Plan

ROUNDS = 200
REPEATS = 101
BYTES = (8, 64, 1024, 4096, 16384)
TAG = 78


def main() -> None:
    library, result = ctypes.CDLL(sys.argv[1]), Path(sys.argv[2])
    library.exchange_and_add.restype = ctypes.c_double
    comm = MPI.COMM_WORLD.Dup()
    rows = []
    for num_bytes in BYTES:
        buffer = np.zeros(num_bytes // 4, np.float32)
        runs = {
            "C": in_c(library, comm, buffer),
            "plan": with_plan(comm, buffer),
            "poll": with_plan(comm, buffer, polled=True),
            "mpi4py": by_hand(comm, buffer),
        }
        seconds = np.array([[timed(comm, run) for run in runs.values()] for _ in range(REPEATS)])
        comm.Allreduce(MPI.IN_PLACE, seconds, MPI.MAX)
        us = dict(zip(runs, (1e6 / ROUNDS * np.median(seconds, axis=0)).tolist()))
        rows += [{"bytes": num_bytes, "by": name, "us": us[name], "times_c": us[name] / us["C"]} for name in us]
    if comm.rank == 0:
        result.write_text(json.dumps(rows))


def timed(comm: MPI.Comm, run: Callable[[], None]) -> float:
    comm.Barrier()
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def in_c(library: ctypes.CDLL, comm: MPI.Comm, buffer: np.ndarray) -> Callable[[], None]:
    handle = ctypes.c_void_p(MPI._addressof(comm))
    memory = buffer.ctypes.data_as(ctypes.c_void_p)
    return lambda: library.exchange_and_add(handle, comm.rank ^ 1, buffer.size, ROUNDS, memory)


@algorithm(num_chunks=lambda size: 1)
def exchanges(rank: int, size: int):
    """Exchange with the neighbor repeatedly: every round needs the sum of the round before."""
    for _ in range(ROUNDS):
        yield Step(rank ^ 1, 0, rank ^ 1, 0, reduce=True)


def with_plan(comm: MPI.Comm, buffer: np.ndarray, polled: bool = False) -> Callable[[], None]:
    plan = Plan(comm, make_algorithm(exchanges), buffer, tag=TAG + polled)

    def run() -> None:
        plan.start()
        while polled and not plan.poll():
            pass
        plan.wait()

    return run


def by_hand(comm: MPI.Comm, buffer: np.ndarray) -> Callable[[], None]:
    """Exchange in plain mpi4py, without plans."""
    arrived, peer = np.empty_like(buffer), comm.rank ^ 1

    def run() -> None:
        for _ in range(ROUNDS):
            comm.Sendrecv(buffer, peer, recvbuf=arrived, source=peer)
            np.add(buffer, arrived, out=buffer)

    return run


if __name__ == "__main__":
    main()
