"""Start MPI, unless the launcher belongs to another MPI than the library that is loaded.

A library that is started by a foreign launcher either sees every process alone or ends it with words that help
nobody. Which library it is can be asked before it starts.
"""

import atexit

import mpi4py

mpi4py.rc.initialize = False
from mpi4py import MPI  # noqa: E402

from ..errors import UserError  # noqa: E402
from .launch import misfit  # noqa: E402


def library_name() -> str:
    """Return the name and version of the loaded MPI library."""
    first = MPI.Get_library_version().split("\n")[0].split(",")[0].strip("\x00")
    return " ".join(first.replace("Version:", "").split())


def start() -> None:
    """Initialise MPI, if nobody has; it is finalised when the process ends.

    Raises
    ------
    UserError
        If the launcher and the library do not fit together.
    """
    if MPI.Is_initialized():
        return
    if message := misfit(library_name(), speaks_pmix=_may_speak_pmix()):
        raise UserError(message)
    MPI.Init_thread(MPI.THREAD_MULTIPLE)
    atexit.register(_finalize)


def _may_speak_pmix() -> bool:
    """Return False for an MPICH that says how it was built, if PMIx was not asked for then."""
    facts = MPI.Get_library_version().lower()
    return "mpich configure:" not in facts or "pmix" in facts


def _finalize() -> None:
    if not MPI.Is_finalized():
        MPI.Finalize()
