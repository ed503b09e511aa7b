"""What the launcher said before MPI starts: rank and size from the environment.

MPI cannot be asked before it is initialised, and an MPI library that does not understand its launcher starts
as a world of one: comparing both tells the user so instead of training the same network N times.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID")
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


def launched_rank(environment: Mapping[str, str] = os.environ) -> int:
    """Return the rank that the launcher gave this process, 0 without a launcher."""
    return _first(environment, _RANKS, 0)


def launched_size(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many processes the launcher started, 1 without a launcher.

    The launchers' own variables come first: inside a Slurm step, mpirun may start fewer than the step has.
    PMIx by itself gives no size, but rank r means at least r + 1 processes.
    """
    return max(_first(environment, _SIZES, 1), _first(environment, ("PMIX_RANK",), 0) + 1)


def first_exit_ends_all(environment: Mapping[str, str] = os.environ) -> bool:
    """Return True under a launcher (Open MPI's) that kills all ranks as soon as one exits with an error."""
    return "OMPI_COMM_WORLD_RANK" in environment


def lonely_message(size: int, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the sentence for a process that MPI says is alone though the launcher started more, or None."""
    started = launched_size(environment)
    if size > 1 or started <= 1:
        return None
    return (
        f"the launcher started {started} processes, but MPI sees only one in each: mpirun (or srun) belongs to another "
        "MPI than the one that mpi4py has loaded; use the mpirun that came with that MPI (python -m mpi4py "
        "--mpi-lib-version names it), or srun with the plugin that fits (srun --mpi=list)"
    )


def misfit(library: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the sentence for a launcher that belongs to another MPI than ``library``, None if they may fit.

    Slurm's srun speaks several languages: whether it speaks the right one shows only when MPI has started.
    """
    is_open = "Open MPI" in library
    if is_open == ("OMPI_COMM_WORLD_SIZE" in environment) or launched_size(environment) == 1:
        return None
    if is_open and ("PMIX_RANK" in environment or "SLURM_PROCID" in environment):
        return None
    launcher = "MPICH's (or one like it)" if is_open else "Open MPI's"
    return (
        f"the launcher is {launcher}, but the MPI library that mpi4py has loaded is {library}: start the ranks "
        f"with {own_launcher()} -n {launched_size(environment)} ..."
    )


def own_launcher() -> str:
    """Return the mpirun that was installed with this Python, or words for the one that is meant."""
    path = Path(sys.prefix) / "bin" / "mpirun"
    return str(path) if path.is_file() else "the mpirun of that library"


def why_ranks_cannot_be_lost(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return why a lost rank ends the job here, None if the others can go on without it."""
    if environment.get("OMPI_MCA_mpi_ft_enable", "") in ("1", "true"):
        return None
    return "a lost rank ends this job, unless it is started with Open MPI's mpirun --with-ft ulfm"


def _first(environment: Mapping[str, str], names: tuple[str, ...], default: int) -> int:
    found = (environment[name] for name in names if environment.get(name, "").isdecimal())
    return int(next(found, default))
