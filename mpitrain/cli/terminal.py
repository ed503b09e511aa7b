"""Is there a terminal at the other end? Under mpirun standard output is a pipe, and the terminal is mpirun's."""

import os
import sys

from rich.console import Console

LAUNCHERS = ("mpirun", "mpiexec", "mpiexec.hydra", "prterun", "orterun", "prte", "srun")


def make_console(quiet: bool) -> Console:
    """Return a console on standard output, live if the launcher that forwards it writes to a terminal."""
    if not quiet and not sys.stdout.isatty():
        width = _launcher_width()
        if width:
            return Console(force_terminal=True, width=width)
    return Console(quiet=quiet)


def _launcher_width() -> int:
    """Return the width of the terminal that a launcher among our ancestors writes to, 0 if there is none (Linux)."""
    pid = os.getppid()
    try:
        while pid > 1:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(")")
            if name in LAUNCHERS:
                with open(f"/proc/{pid}/fd/1", encoding="utf-8") as output:
                    return os.get_terminal_size(output.fileno()).columns if output.isatty() else 0
            pid = int(rest.split()[1])
    except (OSError, ValueError):
        pass
    return 0
