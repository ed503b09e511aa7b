"""Test whether MPI can read and write a GPU's memory in place (CUDA-aware), in a job of its own.

A library that cannot may refuse, sum wrongly or crash, and its own information about it is not used. So a separate job
(``mpirun -n 2 python -m mpitrain kernel messages``) records its beginning, makes the calls of training with its types,
and records that all sums were right. Runs read that record; after a crash it says that the test has begun.
"""

import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from ...collectives.price import calibration_path
from ...json_text import to_json
from ..schedule.staging import DirectStaging
from ..world import World

ALGORITHMS = ("native", "ring", "recursive_doubling", "tree")
SIZES = (3, 1000, 1 << 20)  # elements: eager messages and those with a rendezvous
TYPES = ("float32", "float64")
WORKS, BEGUN = "works", "the test began, but did not end"


def record_path(mpi_version: str, device_name: str) -> Path:
    """Return the path of the record for this host, MPI library and GPU."""
    beside = calibration_path(platform.node(), f"{mpi_version} {device_name}", 0)
    return beside.with_name(beside.name.replace("calibration", "cuda-aware", 1))


def is_direct(mpi_version: str, device: Any) -> bool:
    """Return whether the test has passed here."""
    try:
        found = json.loads(record_path(mpi_version, device.name).read_text())
        return bool(found["answer"] == WORKS)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def try_direct(world: World, device: Any) -> str:
    """Run the test on all ranks; return ``WORKS`` or the first error, and record it for later runs."""
    path = record_path(world.mpi_version, device.name)
    _write(path, BEGUN)
    world.barrier()
    world.use_staging(DirectStaging(device))
    answers = world.all_gather(_first_mistake(world, device))
    answer = next((text for text in answers if text), WORKS)
    _write(path, answer)
    world.barrier()
    return answer


def _first_mistake(world: World, device: Any) -> str:
    for name in ALGORITHMS:
        for dtype in TYPES:
            for size in SIZES:
                if not _sums_are_right(world, device, name, size, np.dtype(dtype)):
                    return f"rank {world.rank} has wrong sums of {size:,} elements of {dtype} by {name}"
    return ""


def _sums_are_right(world: World, device: Any, name: str, size: int, dtype: np.dtype) -> bool:
    """Start a plan twice on small integers, whose sums are exact."""
    mine = (np.arange(size) % 1000 + world.rank).astype(dtype)
    expected = sum((np.arange(size) % 1000 + rank).astype(dtype) for rank in range(world.size))
    buffer = device.from_host(np.zeros(size, dtype))
    plan = world.plan_all_reduce(buffer, name)
    for _ in range(2):
        buffer[...] = device.from_host(mine)
        plan.start()
        plan.wait()
    found = device.to_host(buffer)
    plan.free()
    return bool(np.array_equal(found, expected))


def _write(path: Path, answer: str) -> None:
    """Write the record; all ranks of a host write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(to_json({"answer": answer}) + "\n")
    os.replace(fresh, path)
