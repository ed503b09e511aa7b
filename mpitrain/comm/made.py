"""Communicators and windows that were made in a part of a program, to be freed at its end.

An MPI library has room for some thousands of communicators only, and a training makes several. A process that trains
many times encloses each training in ``Made``.
"""

from typing import Any

from mpi4py import MPI

_open: "list[Made]" = []


class Made:
    """Context that notes what is made in it; ``free`` frees what is left of that."""

    def __init__(self) -> None:
        self._comms: list[Any] = []
        self._windows: list[Any] = []

    def __enter__(self) -> "Made":
        _open.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _open.remove(self)

    def free(self) -> None:
        """Free windows and communicators; all ranks that have made them call it together, and none is in use."""
        for window in self._windows:
            window.free()
        for comm in reversed(self._comms):
            if comm != MPI.COMM_NULL:
                comm.Free()
        self._windows.clear()
        self._comms.clear()

    def forget(self, window: Any) -> None:
        """Forget a window that is freed already."""
        self._windows = [one for one in self._windows if one is not window]


def note_comm(comm: Any) -> Any:
    """Note a communicator, and return it."""
    if _open:
        _open[-1]._comms.append(comm)
    return comm


def note_window(window: Any) -> None:
    """Note a window, which has a method ``free``."""
    if _open:
        _open[-1]._windows.append(window)


def forget_window(window: Any) -> None:
    """Forget a window, since it is freed."""
    for made in _open:
        made.forget(window)
