"""Whether MPI reads and writes a GPU's memory where it lies: tried, in a job that is there for nothing else.

A library that cannot may refuse, sum wrongly, or crash; what it says of itself is not asked. So a job of its own
(``mpirun -n 2 python -m mpitrain kernel messages``) writes down that it begins, makes the very calls of training, with
its types, and writes down that all sums were right. Runs look for that; a crash leaves the beginning.
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
SIZES = (3, 1000, 1 << 20)  # elements: messages that go at once, and those that are announced first
TYPES = ("float32", "float64")
WORKS, BEGUN = "works", "it began, and did not come to the end"


def record_path(mpi_version: str, device_name: str) -> Path:
    """Return where the answer for this host, MPI library and GPU lies."""
    beside = calibration_path(platform.node(), f"{mpi_version} {device_name}", 0)
    return beside.with_name(beside.name.replace("calibration", "cuda-aware", 1))


def is_direct(mpi_version: str, device: Any) -> bool:
    """Return whether it was tried here, and was right."""
    try:
        found = json.loads(record_path(mpi_version, device.name).read_text())
        return bool(found["answer"] == WORKS)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def try_direct(world: World, device: Any) -> str:
    """Try it with all ranks; return ``WORKS`` or what went wrong, and leave that where runs look."""
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
    """All ranks of a host write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(to_json({"answer": answer}) + "\n")
    os.replace(fresh, path)
