"""Test whether MPI can read and write a GPU's memory in place (CUDA-aware), in a job of its own.

A library that cannot may refuse, sum wrongly or crash, and its own information about it is not used. So a separate job
(``mpirun -n 2 python -m mpitrain kernel messages``) records its beginning, makes the calls of training with its types,
and records that all sums were right. Runs read that record; after a crash it says that the test has begun.

The answer depends on the path that messages take. It holds for the same ranks on the same hosts with the same MPI
library, GPUs and settings of transports, and for buffers up to the longest that was tried.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
WORKS, BEGUN, UNTRIED = "works", "the test began, but did not end", "nobody has tried"

SETTINGS = (  # beginnings of the names of environment variables that choose transports
    *("FI_", "HCOLL_", "I_MPI_", "MPICH_", "MPIR_CVAR_", "MV2_", "MVP_", "OMPI_MCA_", "PMIX_MCA_", "PRTE_MCA_"),
    *("PSM2_", "PSM3_", "UCC_", "UCX_"),
)
OF_THE_JOB = (  # set by launchers, and others in each job
    *("OMPI_MCA_ess_", "OMPI_MCA_initial_wdir", "OMPI_MCA_orte_", "PMIX_MCA_pmix_", "PRTE_MCA_ess_", "PRTE_MCA_prte_"),
)


@dataclass(frozen=True)
class Trial:
    """Result of the test.

    Attributes
    ----------
    answer : str
        ``WORKS``, ``BEGUN``, ``UNTRIED``, or the first mistake.
    longest : int
        Bytes of the longest buffer that was tried.
    """

    answer: str = UNTRIED
    longest: int = 0

    @property
    def direct_bytes(self) -> int:
        """Longest buffer that MPI is known to read in place; 0 if none."""
        return self.longest if self.answer == WORKS else 0

    @property
    def failed(self) -> bool:
        """True if the test was made, and not passed."""
        return self.answer not in (WORKS, UNTRIED)


def transport_settings(environment: Mapping[str, str]) -> list[str]:
    """Return the settings of transports in an environment, as sorted lines.

    >>> transport_settings({"UCX_TLS": "rc,cuda", "HOME": "/root", "OMPI_MCA_ess_base_jobid": "3"})
    ['UCX_TLS=rc,cuda']
    """
    return sorted(
        f"{name}={value}"
        for name, value in environment.items()
        if name.startswith(SETTINGS) and not name.startswith(OF_THE_JOB)
    )


def record_path(world: World, device: Any) -> Path:
    """Return the path of this host's record for these ranks, hosts, GPUs and settings (collective)."""
    mine = host(), device.name, transport_settings(os.environ)
    digest = hashlib.sha256(to_json(world.all_gather(mine)).encode()).hexdigest()[:16]
    beside = calibration_path(host(), f"{world.mpi_version} {digest}", world.size)
    return beside.with_name(beside.name.replace("calibration", "cuda-aware", 1))


def host() -> str:
    """Return the name of this host."""
    return platform.node()


def find_trial(world: World, device: Any) -> Trial:
    """Return what is known about these ranks, the same on all of them (collective)."""
    found = world.all_gather(_read(record_path(world, device)))
    answers = [trial.answer for trial in found]
    wrong = next((answer for answer in answers if answer not in (WORKS, UNTRIED)), None)
    untried = UNTRIED if UNTRIED in answers else WORKS
    return Trial(wrong or untried, min(trial.longest for trial in found))


def try_direct(world: World, device: Any, longest: int) -> str:
    """Run the test on all ranks; return ``WORKS`` or the first error, and record it for later runs.

    Parameters
    ----------
    longest : int
        Bytes of the longest buffer to try.
    """
    path = record_path(world, device)
    _write(path, Trial(BEGUN, longest))
    world.barrier()
    world.use_staging(DirectStaging(device))
    answers = world.all_gather(_first_mistake(world, device, longest))
    answer = next((text for text in answers if text), WORKS)
    _write(path, Trial(answer, longest))
    world.barrier()
    return answer


def _first_mistake(world: World, device: Any, longest: int) -> str:
    for dtype in map(np.dtype, TYPES):
        most = longest // dtype.itemsize
        for size in sorted({*(size for size in SIZES if size < most), most}):
            for name in ALGORITHMS:
                if not _sums_are_right(world, device, name, size, dtype):
                    return f"rank {world.rank} has wrong sums of {size:,} elements of {dtype} by {name}"
    return ""


def _sums_are_right(world: World, device: Any, name: str, size: int, dtype: np.dtype) -> bool:
    """Start a plan twice on small integers, whose sums are exact."""
    ramp = np.arange(size) % 1000
    mine = (ramp + world.rank).astype(dtype)
    expected = (world.size * ramp + world.size * (world.size - 1) // 2).astype(dtype)
    buffer = device.from_host(np.zeros(size, dtype))
    plan = world.plan_all_reduce(buffer, name)
    for _ in range(2):
        buffer[...] = device.from_host(mine)
        plan.start()
        plan.wait()
    found = device.to_host(buffer)
    plan.free()
    return bool(np.array_equal(found, expected))


def _read(path: Path) -> Trial:
    try:
        found = json.loads(path.read_text())
        return Trial(str(found["answer"]), int(found["longest"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Trial()


def _write(path: Path, trial: Trial) -> None:
    """Write the record; all ranks of a host write the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(to_json(asdict(trial)) + "\n")
    os.replace(fresh, path)
