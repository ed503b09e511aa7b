"""Start of MPI, with a check that the launcher belongs to the loaded MPI library.

Under a launcher of another library, each process either sees itself alone or ends with an unhelpful message. The name
of the library is available before it is initialized.
"""

import atexit
import os
import warnings
from collections.abc import MutableMapping

import mpi4py

from ..errors import UserError
from .launch import misfit, no_library

mpi4py.rc.initialize = False
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # about a launcher of another MPI: start() reports it once
        from mpi4py import MPI
except (ImportError, RuntimeError) as error:  # mpi4py is installed, but no MPI library can be loaded
    raise no_library(error) from None


def library_name() -> str:
    """Return the name and version of the loaded MPI library."""
    first = MPI.Get_library_version().split("\n")[0].split(",")[0].strip("\x00")
    return " ".join(first.replace("Version:", "").split())


def start() -> None:
    """Initialize MPI unless that is done; it is finalized when the process ends.

    Raises
    ------
    UserError
        If the launcher and the library do not fit together.
    """
    if MPI.Is_initialized():
        return
    if message := misfit(library_name(), supports_pmix=_may_support_pmix()):
        raise UserError(message)
    leave_out_osc_ucx(os.environ)
    MPI.Init_thread(MPI.THREAD_MULTIPLE)
    atexit.register(_finalize)


def leave_out_osc_ucx(environment: MutableMapping[str, str]) -> None:
    """Disable UCX for one-sided communication in Open MPI, unless ``environment`` chooses its components.

    Where UCX has no network device, each rank prints "Error: OSC UCX component priority set inside component query
    failed" for each window and continues. Windows here are of shared memory only, which Open MPI's component ``sm``
    provides on every machine; messages between nodes still use UCX or the user's choice (component
    ``pml``). Another MPI library does not read the variable.
    """
    environment.setdefault("OMPI_MCA_osc", "^ucx")


def _may_support_pmix() -> bool:
    """Return False for an MPICH that was configured without PMIx."""
    facts = MPI.Get_library_version().lower()
    return "mpich configure:" not in facts or "pmix" in facts


def _finalize() -> None:
    if not MPI.Is_finalized():
        MPI.Finalize()
