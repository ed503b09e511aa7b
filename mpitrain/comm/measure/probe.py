"""Facts about every rank for the doctor: placement, versions, and tests of what training needs."""

import os
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpi4py import MPI

from ... import __version__
from ...device import VisibleGpus
from ..launch import why_ranks_cannot_be_lost
from ..node.window_all_reduce import SHM, Window, why_not
from ..schedule.progress_thread import why_no_thread
from ..world import World

WINDOW = 1 << 16  # bytes of the window that is tried


@dataclass(frozen=True)
class Facts:
    """Facts about one rank."""

    host: str
    node: int
    cores: frozenset[int]
    machine_cores: int
    quota: float
    versions: dict[str, str]
    no_thread: str | None
    no_window: str | None
    shm_free: int
    fatal: str | None
    wrong_sum: bool
    clock: float
    gpus: VisibleGpus
    cpu_kernels: str


def probe(world: World, *, gpus: VisibleGpus, cpu_kernels: str) -> list[Facts]:
    """Return the facts about all ranks, with their GPUs and kernels in C; all ranks call it together."""
    node, cores = world.affinity
    no_window = None
    if why_ranks_cannot_be_lost() is not None:  # else windows are not used: a lost rank would block the others
        no_window = why_not(world.node_size, world.node_size, WINDOW) or _try_window(world)
    wrong_sum = _wrong_sum(world)
    world.barrier()
    clock = time.time()
    mine = Facts(
        host=platform.node(),
        node=node,
        cores=cores,
        machine_cores=os.cpu_count() or 1,
        quota=cpu_quota(),
        versions={
            "mpitrain": __version__,
            "Python": platform.python_version(),
            "NumPy": np.__version__,
            "MPI": world.mpi_version,
        },
        no_thread=why_no_thread(),
        no_window=no_window,
        shm_free=shutil.disk_usage(SHM).free if os.path.isdir(SHM) else -1,
        fatal=why_ranks_cannot_be_lost(),
        wrong_sum=wrong_sum,
        clock=clock,
        gpus=gpus,
        cpu_kernels=cpu_kernels,
    )
    return world.all_gather(mine)


def cpu_quota() -> float:
    """Return the number of cores in the container's quota, infinite without one."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):
        return float("inf")


def _try_window(world: World) -> str | None:
    """Return why memory cannot be shared on this node, None if it can."""
    try:
        window = Window(world._node, WINDOW)
    except MPI.Exception as error:
        return f"MPI makes no shared window ({error.Get_error_string()})"
    window.own[:] = world.node_rank % 251
    window.sync()
    world._node.Barrier()
    window.sync()
    seen = all((part[:WINDOW] == rank % 251).all() for rank, part in enumerate(window.parts))
    world._node.Barrier()
    window.free()
    return None if seen else "a rank did not see what another has written into a shared window"


def _wrong_sum(world: World) -> bool:
    """Return True if the library or a schedule sums wrongly here."""
    for name in ("native", "tree"):
        buffer = np.full(1000, world.rank + 1, np.float32)
        plan = world.plan_all_reduce(buffer, name)
        plan.start()
        plan.wait()
        plan.free()
        if (buffer != world.size * (world.size + 1) / 2).any():
            return True
    return False
