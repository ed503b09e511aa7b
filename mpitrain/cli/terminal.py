"""The console of all commands: text as it is, and a terminal only where the output ends on one.

Under mpirun it is mpirun's own output that counts.

MPICH gives the ranks a pipe even if mpirun writes to a terminal; Open MPI gives them a pseudo-terminal even if
mpirun writes to a file.
"""

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

LAUNCHERS = ("mpirun", "mpiexec", "mpiexec.hydra", "prterun", "orterun", "prte", "srun")
UNLIMITED = 10_000  # columns of an output that is no terminal


def make_console(quiet: bool = False) -> "Console":
    """Return a console on standard output.

    It is live if the output ends on a terminal; elsewhere lines are never cut or wrapped. Names of files and columns
    are printed as they are: brackets and colons are neither markup nor emoji (styles are given by ``rich.text.Text``).
    """
    from rich.console import Console

    plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False, "quiet": quiet}
    launcher = None if quiet else _launcher()
    if launcher is None:
        return Console(**plain) if sys.stdout.isatty() else Console(**plain, force_terminal=False, width=UNLIMITED)
    width = _terminal_width(f"/proc/{launcher}/fd/1")
    return Console(**plain, force_terminal=width > 0, width=width or UNLIMITED)


def _launcher() -> int | None:
    """Return the process id of the launcher among our ancestors, None if there is none to be seen (Linux only)."""
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


def _terminal_width(path: str) -> int:
    """Return the columns of the terminal at ``path``, 0 if it is none."""
    try:
        with open(path, encoding="utf-8") as output:
            return os.get_terminal_size(output.fileno()).columns if output.isatty() else 0
    except OSError:
        return 0
