"""Rank and size from the launcher's environment, before MPI starts.

MPI cannot be asked before it is initialized, and an MPI library that does not match its launcher starts as a world of
one rank: the comparison of both reports that, instead of training the same network N times.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError

_RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID")
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


def launched_rank(environment: Mapping[str, str] = os.environ) -> int:
    """Return this process's rank by the launcher, 0 without a launcher."""
    return _first(environment, _RANKS, 0)


def launched_size(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of processes that the launcher started, 1 without a launcher.

    The launchers' own variables come first: inside a Slurm step, mpirun may start fewer than the step has.
    PMIx by itself gives no size, but rank r means at least r + 1 processes.
    """
    return max(_first(environment, _SIZES, 1), _first(environment, ("PMIX_RANK",), 0) + 1)


def first_exit_ends_all(environment: Mapping[str, str] = os.environ) -> bool:
    """Return True under Open MPI's launcher, which kills all ranks as soon as one exits with an error."""
    return "OMPI_COMM_WORLD_RANK" in environment


def lonely_message(size: int, library: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return an error message if MPI sees one rank though the launcher started more, else None."""
    started = launched_size(environment)
    if size > 1 or started <= 1:
        return None
    alone = f"the launcher started {started} processes, but MPI sees only one in each"
    if "SLURM_PROCID" in environment and not by_mpirun(environment):
        return f"{alone}: srun does not use the protocol of {library}; {_srun_that_fits(library)}"
    return (
        f"{alone}: mpirun belongs to another MPI than the library that mpi4py has loaded, {library}; start the ranks "
        f"with {own_launcher()}"
    )


def misfit(library: str, environment: Mapping[str, str] = os.environ, *, supports_pmix: bool = False) -> str | None:
    """Return an error message for a launcher of another MPI than ``library``, None if they may match.

    Slurm's srun supports several protocols; whether Open MPI understands the one in use shows only after its start.

    Parameters
    ----------
    library : str
        Name and version of the library.
    supports_pmix : bool
        The library is an MPICH (or a derivative) that may have been built with PMIx.
    """
    if launched_size(environment) == 1:
        return None
    is_open, by_srun = "Open MPI" in library, "SLURM_PROCID" in environment and not by_mpirun(environment)
    if is_open == ("OMPI_COMM_WORLD_SIZE" in environment) or (is_open and by_srun):
        only_pmix = by_srun and "PMIX_RANK" in environment and "PMI_RANK" not in environment
        if only_pmix and not is_open and not supports_pmix:
            return f"srun uses pmix, which {library} was not built for; {_srun_that_fits(library)}"
        return None
    if is_open and "PMIX_RANK" in environment:
        return None
    launcher = "MPICH's (or one like it)" if is_open else "Open MPI's"
    return (
        f"the launcher is {launcher}, but the MPI library that mpi4py has loaded is {library}: start the ranks "
        f"with {own_launcher()} -n {launched_size(environment)} ..."
    )


def by_mpirun(environment: Mapping[str, str] = os.environ) -> bool:
    """Return True if an mpirun, not Slurm's srun itself, started this process."""
    return any(name in environment for name in ("OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS"))


def _srun_that_fits(library: str) -> str:
    plugin = "pmix" if "Open MPI" in library else "pmi2"
    return f"srun --mpi={plugin} fits, if srun --mpi=list names it; else {own_launcher()} inside the job (sbatch)"


def no_library(error: Exception) -> UserError:
    """Return the error for an mpi4py that has found no MPI library."""
    return UserError(
        f"mpi4py found no MPI library ({error}): install one with pip install 'mpitrain[mpich]' or load your "
        "system's MPI (module load ...)"
    )


def own_launcher() -> str:
    """Return the path of the mpirun that was installed with this Python, or a description of the right one."""
    path = Path(sys.prefix) / "bin" / "mpirun"
    return str(path) if path.is_file() else "the mpirun of that library"


def why_ranks_cannot_be_lost(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return why a lost rank ends the job, None if the others can continue without it."""
    if environment.get("OMPI_MCA_mpi_ft_enable", "") in ("1", "true"):
        return None
    return "a lost rank ends this job, unless it is started with Open MPI's mpirun --with-ft ulfm"


def _first(environment: Mapping[str, str], names: tuple[str, ...], default: int) -> int:
    found = (environment[name] for name in names if environment.get(name, "").isdecimal())
    return int(next(found, default))
