"""Choice of the all-reduce for ``auto``, by measurements on this machine or a rule of thumb.

Ranks of one node that share memory need no messages: each reads the others' buffers in place. That was the fastest, or
nearly so, at every length, with and without a core for each rank (docs/benchmarks/collectives.md). On several nodes the
ring sends the fewest bytes, and MPI's own call the fewest messages.
"""

import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..collectives.price import (
    Calibration,
    Choice,
    calibration_path,
    choose,
    choose_bucket_bytes,
    load_calibration,
    predict,
)
from ..collectives.price.units import say_bytes
from ..errors import UserError
from .placement import Placement

# Without measurements: bytes of a bucket (PyTorch's), and least bytes of a chunk for the ring. A round
# from Python costs a few microseconds; where ranks outnumber cores it costs a turn of the scheduler.
BUCKET_BYTES = 25 << 20
RING_CHUNK = 4 * 1024
RING_CHUNK_OVERSUBSCRIBED = 256 * 1024


class Auto:
    """Chooses all-reduces and bucket lengths on rank 0, for all ranks.

    Parameters
    ----------
    comm : MPI.Comm
    mpi_version : str
        Name of the MPI library; calibrations are kept per library.
    place : Placement
    why_not_shared : callable(num_bytes)
        Returns why the ranks cannot share ``num_bytes`` each, None if they can.

    Attributes
    ----------
    path : Path
        File of the measurements on this machine with this MPI library and number of ranks.
    note : str
        Reason why that file cannot be used, on rank 0; empty if it can.
    """

    def __init__(self, comm: Any, mpi_version: str, place: Placement, why_not_shared: Callable[[int], str | None]):
        self._comm, self._crowded, self._why_not_shared = comm, place.oversubscribed, why_not_shared
        self.path: Path = calibration_path(platform.node(), mpi_version, comm.size)
        self.note = ""

    def choose(self, num_bytes: int) -> Choice:
        """Return the all-reduce for this length and the reason; all ranks call it together."""
        choice: Choice | None = None
        if self._comm.rank == 0:
            found = self._calibration()
            if found is not None and (found.best or self._why_not_shared(num_bytes)):
                choice = choose(self._comm.size, num_bytes, found)
            else:  # prices are those of messages
                choice = self.untuned(num_bytes)
        agreed: Choice = self._comm.bcast(choice)
        return agreed

    def predict(self, messages: Sequence[tuple[str, int]]) -> list[float] | None:
        """Return the seconds of collectives and lengths by the measurements; None without any that apply.

        All ranks call it together.
        """
        seconds: list[float] | None = None
        if self._comm.rank == 0:
            found = self._calibration()
            if found is not None and not found.oversubscribed:
                size = self._comm.size
                seconds = [predict(size, length, found, algorithms=[name])[name] for name, length in messages]
        agreed: list[float] | None = self._comm.bcast(seconds)
        return agreed

    def choose_bucket_bytes(self) -> int:
        """Return the best length of a gradient bucket; all ranks call it together."""
        length = BUCKET_BYTES
        if self._comm.rank == 0 and (found := self._calibration()):
            length = choose_bucket_bytes(self._comm.size, found)
        agreed: int = self._comm.bcast(length)
        return agreed

    def untuned(self, num_bytes: int) -> Choice:
        """Return the choice without measurements (a local call)."""
        if self._comm.size == 1:
            return Choice("native", 0.0, "native: one rank has nothing to reduce")
        if self._why_not_shared(num_bytes) is not None:
            return self.by_messages(num_bytes)
        return _choice("shared", num_bytes, "the ranks share the memory of one node")

    def by_messages(self, num_bytes: int) -> Choice:
        """Return the choice without measurements and shared memory."""
        size, crowded = self._comm.size, self._crowded
        least = size * (RING_CHUNK_OVERSUBSCRIBED if crowded else RING_CHUNK)
        name = "ring" if num_bytes >= least else "tree" if crowded else "native"
        return _choice(name, num_bytes, f"ring from {say_bytes(least)}{', ranks outnumber cores' if crowded else ''}")

    def _calibration(self) -> Calibration | None:
        """Return the measurements, None if there are none that help."""
        if self._comm.size == 1 or not self.path.is_file():
            return None
        try:
            calibration = load_calibration(self.path)
        except UserError as error:
            self.note = str(error)
            return None
        return calibration if calibration.best or not calibration.oversubscribed else None


def _choice(name: str, num_bytes: int, why: str) -> Choice:
    reason = f"{name} at {say_bytes(num_bytes)} ({why}: a rule of thumb; mpitrain collective tune measures)"
    return Choice(name, None, reason)
