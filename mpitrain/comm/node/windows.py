"""Shared memory of a group whose ranks are all on one node, and the all-reduces in it."""

import math
from typing import Any

import numpy as np

from ..job import Job
from ..placement import Placement
from .shared_arena import SharedArena
from .window_all_reduce import ONE_SHOT_BYTES, Window, WindowAllReduce, ordinary, why_not, window_bytes


class SharedWindows:
    """Makes windows, and all-reduces in them; all ranks call each method together, with the same lengths.

    Parameters
    ----------
    comm : MPI.Comm
        The ranks of the group; memory is shared only where all of them are on one node.
    place : Placement
    job : Job
        Says whether memory may be shared, and takes notes of the reasons where it cannot be.
    """

    def __init__(self, comm: Any, place: Placement, job: Job):
        self._comm, self._place, self._job = comm, place, job
        self._windows: list[Window] = []

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return zeros in memory that the other ranks can access; in private memory where that is impossible."""
        num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        if self._cannot(num_bytes, "memory"):
            return ordinary(shape, dtype)
        self._windows.append(Window(self._comm, num_bytes))
        made: np.ndarray = self._windows[-1].own.view(dtype).reshape(shape)
        return made

    def arena(self, num_elements: int, dtype: Any, num_values: int | None = None) -> SharedArena | None:
        """Return memory for one copy of the weights and all gradients of this node, None where that is impossible."""
        values = num_elements if num_values is None else num_values
        num_bytes = (num_elements + values) * np.dtype(dtype).itemsize  # an upper bound: the weights are stored once
        if self._cannot(num_bytes, "weights"):
            return None
        options: dict[str, Any] = {"num_values": values, "yield_cpu": self._place.oversubscribed}
        return SharedArena(self._comm, num_elements, dtype, **options)

    def plan(self, buffer: np.ndarray, op: str) -> WindowAllReduce | None:
        """Return an all-reduce in shared memory, None where that is impossible."""
        places = [(i, window.find(buffer)) for i, window in enumerate(self._windows)]
        found = next(((i, start) for i, start in places if start is not None), None)
        alike = len(set(self._comm.allgather(found))) == 1
        in_window = alike and found is not None and buffer.nbytes > ONE_SHOT_BYTES
        if self._cannot(window_bytes(buffer.nbytes, in_window), "all-reduce"):
            return None
        place = (self._windows[found[0]], found[1]) if in_window and found is not None else None
        return WindowAllReduce(self._comm, buffer, place, op=op, yield_cpu=self._place.oversubscribed)

    def why_not(self, num_bytes: int) -> str | None:
        """Return why the ranks cannot share ``num_bytes`` each, from this rank's view; None if they can."""
        asking = self._job.place.node_size
        return self._job.no_sharing or why_not(self._place.node_size, self._comm.size, num_bytes, asking=asking)

    def _cannot(self, num_bytes: int, what: str) -> bool:
        """Return whether the ranks cannot share ``num_bytes`` each, the same on all of them; note the reason."""
        reason = self._comm.bcast(self.why_not(num_bytes) if self._comm.rank == 0 else None)
        if reason is not None:
            self._job.note(f"no shared {what}: {reason}")
        return reason is not None
