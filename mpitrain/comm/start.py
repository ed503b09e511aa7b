"""Start MPI, unless the launcher belongs to another MPI than the library that is loaded.

A library that is started by a foreign launcher either sees every process alone or ends it with words that help
nobody. Which library it is can be asked before it starts.
"""

import atexit
import os
from collections.abc import MutableMapping

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
    leave_out_osc_ucx(os.environ)
    MPI.Init_thread(MPI.THREAD_MULTIPLE)
    atexit.register(_finalize)


def leave_out_osc_ucx(environment: MutableMapping[str, str]) -> None:
    """Let Open MPI do without UCX for one-sided communication, unless ``environment`` chooses its components.

    Where UCX has no network device, each rank prints "Error: OSC UCX component priority set inside component query
    failed" for each window, and goes on. Windows here are of shared memory only, which Open MPI's component ``sm``
    serves on every machine; messages between nodes take UCX, or what the user has chosen, as before (component
    ``pml``). Another MPI library does not read the variable.
    """
    environment.setdefault("OMPI_MCA_osc", "^ucx")


def _may_speak_pmix() -> bool:
    """Return False for an MPICH that says how it was built, if PMIx was not asked for then."""
    facts = MPI.Get_library_version().lower()
    return "mpich configure:" not in facts or "pmix" in facts


def _finalize() -> None:
    if not MPI.Is_finalized():
        MPI.Finalize()
