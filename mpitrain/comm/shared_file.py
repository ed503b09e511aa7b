"""One file that all ranks write to, each its own parts.

All ranks open and close it together; in between, each rank writes anywhere, from any thread. Writes go by MPI-IO where
MPI can be called from several threads; by POSIX calls where it cannot, or where a rank may be lost meanwhile, since an
MPI file cannot outlive one of its ranks.
"""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

PIECE = 8 << 20  # bytes of a write; MPI calls of other threads may wait for it


class SharedFile:
    """An existing file, open for writing on all ranks of a communicator.

    Parameters
    ----------
    comm : MPI.Comm
    path : Path
    mpi_io : bool
        Write by MPI-IO, not by POSIX calls.

    Raises
    ------
    OSError
        On the ranks that cannot open it. Then no rank may close it, since closing is collective.
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
            If the disk is full or the write fails otherwise.
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
        """Wait until this node's data are on the disk; raises OSError on failure."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file (all ranks together)."""
        os.close(self._descriptor)
        if self._file is not None:
            self._file.Close()


def _write_all(descriptor: int, data: np.ndarray, offset: int) -> None:
    left = data.data
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def _reason(error: MPI.Exception) -> str:
    """Return the operating system's message from MPICH's stack of calls, or the library's whole message."""
    last = error.Get_error_string().strip().splitlines()[-1]
    return re.sub(r"^\w+\(\d+\)\.*: ", "", last).removeprefix("Other I/O error ")
