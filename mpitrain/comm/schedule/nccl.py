"""Groups of NCCL, and its collectives as plans: GPUs exchange among themselves; MPI only carries NCCL's identifier."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from ...errors import AgreedError, UserError

PAUSE = 20e-6  # seconds between tests of a GPU that is not done


class NcclGroup(Protocol):
    """NCCL communicator of all ranks (``device/nccl.py``)."""

    def all_reduce(self, array: Any) -> Any:
        """Queue the sum of ``array`` over the ranks, in place; return the event at its end."""

    def all_to_all(self, array: Any, result: Any) -> Any:
        """Queue the exchange of the parts of ``array``, one for each rank; return its end."""

    def all_gather(self, array: Any) -> Any:
        """Queue the exchange of this rank's part of ``array`` for those of all, in place; return its end."""

    def send(self, array: Any, peer: int, after: Any) -> Any:
        """Queue a message to ``peer``, behind all calls of this group and the event ``after``; return its end."""

    def receive(self, array: Any, peer: int, after: Any) -> Any:
        """Queue a message from ``peer``, behind all calls of this group and the event ``after``; return its end."""

    def free(self) -> None:
        """Free the communicator, when no call is under way."""


class NcclPlan:
    """One call of NCCL for each start, in parallel with the queued computation.

    Parameters
    ----------
    call : callable()
        Queues it, behind the computation so far, and returns the event at its end.
    size : int
        The ranks.
    result : array
    ways : int
        Times that the parts of other ranks are sent.
    """

    algorithm = "nccl"

    def __init__(self, call: Callable[[], Any], size: int, result: Any, ways: int = 1):
        self._call, self.result = call, result
        self._end: Any = None
        self.messages = int(size > 1)
        self.bytes_sent = ways * (size - 1) * result.nbytes // size  # NCCL may choose another algorithm

    def start(self) -> None:
        """Queue the call."""
        self._end = self._call()

    def poll(self) -> bool:
        """Test the event at its end."""
        return self._end is None or bool(self._end.done())

    def wait(self) -> None:
        """Poll until it is done, since a wait inside CUDA could not be watched."""
        while not self.poll():
            time.sleep(PAUSE)

    def free(self) -> None:
        """Do nothing: no resources are kept between starts."""


def nccl_sum(group: NcclGroup, size: int, buffer: Any) -> NcclPlan:
    """Return the all-reduce of ``buffer``, in place."""
    return NcclPlan(partial(group.all_reduce, buffer), size, buffer, ways=2)


def nccl_turn(group: NcclGroup, size: int, buffer: Any) -> NcclPlan:
    """Return the all-to-all of equal parts of ``buffer``, into an array of its own."""
    result = np.empty_like(buffer)
    return NcclPlan(partial(group.all_to_all, buffer, result), size, result)


def nccl_gather(group: NcclGroup, size: int, buffer: Any) -> NcclPlan:
    """Return the all-gather of equal parts of ``buffer``, in place."""
    return NcclPlan(partial(group.all_gather, buffer), size, buffer)


NCCL_EXCHANGES = {"all_to_all/nccl": nccl_turn, "all_gather/nccl": nccl_gather}
"""Exchanges of equal parts of a buffer, by name."""


def make_group(comm: Any, device: Any, everyone: Any = None) -> NcclGroup:
    """Make an NCCL communicator of the ranks of ``comm``, each with its GPU.

    Parameters
    ----------
    comm : MPI.Comm
    device : Device
    everyone : MPI.Comm, optional
        All ranks that call this together, in groups; by default those of ``comm``.

    Raises
    ------
    AgreedError
        On all of them, if NCCL does not start on some.
    """
    everyone = comm if everyone is None else everyone
    made = _agree(everyone, device.make_group_id if comm.rank == 0 else lambda: None)
    unique_id = comm.bcast(made)

    def start() -> NcclGroup:
        with comm.noted("start of NCCL"):  # it waits for all ranks, and for ever where they do not reach each other
            made: NcclGroup = device.make_group(unique_id, comm.size, comm.rank)
            return made

    group: NcclGroup = _agree(everyone, start)
    return group


def check_gpus(comm: Any, device: Any, option: str) -> None:
    """Check that NCCL could join the GPUs of all ranks of ``comm``; ``device`` is that of this rank.

    Parameters
    ----------
    option : str
        The setting that asks for NCCL: "--all-reduce".

    Raises
    ------
    AgreedError
        On all ranks, if some have no GPU, or if some share one.
    """
    places = comm.allgather(getattr(device, "identity", None))
    if None in places:
        raise AgreedError(
            f"nccl needs a GPU on each rank, and rank {places.index(None)} has none: choose another {option}"
        )
    for rank, place in enumerate(places):
        if place in places[:rank]:
            raise AgreedError(
                f"nccl needs a GPU for each rank, but ranks {places.index(place)} and {rank} share one: "
                f"choose another {option}"
            )


def _agree(comm: Any, make: Any) -> Any:
    """Return the result of ``make``; if it fails on some rank, raise the lowest rank's error on all ranks."""
    made = reason = None
    try:
        made = make()
    except (UserError, ImportError, RuntimeError) as error:  # CuPy's NcclError is a RuntimeError
        reason = f"NCCL does not start on rank {comm.rank}: {error}"
    reasons = [text for text in comm.allgather(reason) if text]
    if reasons:
        raise AgreedError(reasons[0])
    return made
