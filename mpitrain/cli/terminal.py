"""Is there a terminal at the other end? Under mpirun it is mpirun's own output that counts.

MPICH gives the ranks a pipe even if mpirun writes to a terminal; Open MPI gives them a pseudo-terminal even if
mpirun writes to a file.
"""

import os

from rich.console import Console

LAUNCHERS = ("mpirun", "mpiexec", "mpiexec.hydra", "prterun", "orterun", "prte", "srun")


def make_console(quiet: bool) -> Console:
    """Return a console on standard output that is live if what is printed ends on a terminal."""
    launcher = None if quiet else _launcher()
    if launcher is None:
        return Console(quiet=quiet)
    width = _terminal_width(f"/proc/{launcher}/fd/1")
    return Console(force_terminal=True, width=width) if width else Console(force_terminal=False, width=120)


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
