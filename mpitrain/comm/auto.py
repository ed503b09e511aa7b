"""What ``auto`` stands for: by what was measured on this machine, or else by a rule of thumb."""

import platform
from pathlib import Path
from typing import Any

from ..collectives.price import Calibration, Choice, calibration_path, choose, choose_bucket_bytes, load_calibration
from ..collectives.price.words import say_bytes
from ..errors import UserError

# Where nothing was measured: bytes of a bucket (PyTorch's), and of a chunk from which `auto` takes the ring. A round
# from Python costs a few microseconds; where ranks outnumber cores it costs a turn of the scheduler.
BUCKET_BYTES = 25 << 20
RING_CHUNK = 4 * 1024
RING_CHUNK_OVERSUBSCRIBED = 256 * 1024


class Auto:
    """Chooses all-reduces and bucket lengths; rank 0 looks them up, and all ranks get the same answer.

    Parameters
    ----------
    comm : MPI.Comm
    mpi_version : str
        The MPI library, by which calibrations are told apart.
    oversubscribed : bool
        True when ranks outnumber cores.

    Attributes
    ----------
    path : Path
        Where what was measured on this machine, with this MPI and number of ranks, is kept.
    note : str
        Why that file cannot be used, if so (on rank 0).
    """

    def __init__(self, comm: Any, mpi_version: str, oversubscribed: bool):
        self._comm, self._oversubscribed = comm, oversubscribed
        self.path: Path = calibration_path(platform.node(), mpi_version, comm.size)
        self.note = ""

    def choose(self, num_bytes: int) -> Choice:
        """Return the all-reduce for this length, and why; all ranks call it together."""
        choice = None
        if self._comm.rank == 0:
            found = self._calibration()
            choice = choose(self._comm.size, num_bytes, found) if found else self.rule_of_thumb(num_bytes)
        return self._comm.bcast(choice)

    def choose_bucket_bytes(self) -> int:
        """Return how long a gradient bucket should be; all ranks call it together."""
        length = BUCKET_BYTES
        if self._comm.rank == 0 and (found := self._calibration()):
            length = choose_bucket_bytes(self._comm.size, found)
        return self._comm.bcast(length)

    def rule_of_thumb(self, num_bytes: int) -> Choice:
        """Return the choice where nothing was measured."""
        size, crowded = self._comm.size, self._oversubscribed
        least = size * (RING_CHUNK_OVERSUBSCRIBED if crowded else RING_CHUNK)
        name = "ring" if num_bytes >= least else "tree" if crowded else "native"
        turn = ", ranks outnumber cores" if crowded else ""
        reason = f"ring from {say_bytes(least)}{turn}: a rule of thumb; mpitrain collective tune measures"
        return Choice(name, None, f"{name} at {say_bytes(num_bytes)} ({reason})")

    def _calibration(self) -> Calibration | None:
        """Return what was measured, if it says anything."""
        if self._comm.size == 1 or not self.path.is_file():
            return None
        try:
            calibration = load_calibration(self.path)
        except UserError as error:
            self.note = str(error)
            return None
        return calibration if calibration.best or not calibration.oversubscribed else None
