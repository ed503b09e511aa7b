"""One file that all ranks write, each its own parts of it.

Opening and closing is done by all ranks together; between them each rank writes where it likes, from any thread. MPI-IO
does it where MPI can be called from several threads, POSIX calls where it cannot, or where a rank may be lost on the
way: an MPI file cannot outlive one of its ranks.
"""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

PIECE = 8 << 20  # bytes of a write: other threads' MPI calls may have to wait for one


class SharedFile:
    """An existing file, open for writing on all ranks of a communicator.

    Parameters
    ----------
    comm : MPI.Comm
    path : Path
    mpi_io : bool
        False takes POSIX calls.

    Raises
    ------
    OSError
        On the ranks that cannot open it. Then nobody may close it, since closing is collective.
    """

    def __init__(self, comm: Any, path: Path, *, mpi_io: bool):
        self.path = path
        self._file: Any = None
        self._descriptor = -1
        if mpi_io and MPI.Query_thread() == MPI.THREAD_MULTIPLE:
            try:
                self._file = MPI.File.Open(comm, os.fspath(path), MPI.MODE_WRONLY)
            except MPI.Exception as error:
                raise OSError(_reason(error)) from None
        self._descriptor = os.open(path, os.O_WRONLY)

    def write_at(self, offset: int, data: np.ndarray) -> None:
        """Write the bytes ``data`` (n,) at ``offset``.

        Raises
        ------
        OSError
            If the disk is full, and the like.
        """
        for start in range(0, data.size, PIECE):
            piece = data[start : start + PIECE]
            if self._file is None:
                _write_all(self._descriptor, piece, offset + start)
                continue
            try:
                status = MPI.Status()
                self._file.Write_at(offset + start, piece, status)
            except MPI.Exception as error:
                raise OSError(_reason(error)) from None
            if status.Get_count(MPI.BYTE) != piece.size:
                raise OSError(f"only {status.Get_count(MPI.BYTE)} of {piece.size} bytes were written")

    def flush(self) -> None:
        """Return when what this node has written lies on the disk (raises OSError if it does not)."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close it; all ranks together."""
        os.close(self._descriptor)
        if self._file is not None:
            self._file.Close()


def _write_all(descriptor: int, data: np.ndarray, offset: int) -> None:
    left = data.data
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def _reason(error: MPI.Exception) -> str:
    """Return the operating system's words from MPICH's stack of calls, or all that the library says."""
    last = error.Get_error_string().strip().splitlines()[-1]
    return re.sub(r"^\w+\(\d+\)\.*: ", "", last).removeprefix("Other I/O error ")
