"""Console of all commands, and detection of the terminal on which the output of this process ends.

Under mpirun it is mpirun's own output that counts: MPICH gives the ranks a pipe even if mpirun writes to a terminal;
Open MPI gives them a pseudo-terminal even if mpirun writes to a file.
"""

import os
import stat
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..training.display.console import PlainConsole

LAUNCHERS = ("mpirun", "mpiexec", "mpiexec.hydra", "prterun", "orterun", "prte", "srun")


def make_console(quiet: bool = False) -> "PlainConsole":
    """Return a console on standard output, as wide as the terminal on which that ends.

    Elsewhere lines are never cut or wrapped. Names of files and columns are printed as they are: brackets and colons
    are neither markup nor emoji.
    """
    from ..training.display.console import PlainConsole

    launcher = None if quiet else launcher_process()
    return PlainConsole(partial(_columns, f"/proc/{launcher}/fd/1") if launcher else None, quiet=quiet)


def launcher_process() -> int | None:
    """Return the process id of the launcher among the ancestors; None if there is none in sight (Linux only)."""
    pid = os.getppid()
    try:
        while pid > 1:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(")")
            if name in LAUNCHERS:
                return pid
            pid = int(rest.split()[1])
    except (OSError, ValueError):
        pass
    return None


def _columns(path: str) -> int:
    """Return the columns of the terminal at ``path``, 0 if it is none."""
    try:
        if not stat.S_ISCHR(os.stat(path).st_mode):  # opening a pipe would add a reader to it
            return 0
        with open(path, "rb", buffering=0, opener=_open_quietly) as output:
            return os.get_terminal_size(output.fileno()).columns if output.isatty() else 0
    except OSError:
        return 0


def _open_quietly(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOCTTY)
