"""Facts of a job that all of its groups share."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from .placement import Affinity, Placement, affinity_of, placement_of
from .watch.hang_report import say_ranks
from .watch.ledger import Ledger
from .watch.watched import WatchedComm


@dataclass
class Job:
    """One job, or a communicator of a program that has no ``World``.

    Parameters
    ----------
    comm : MPI.Comm
        All ranks. Ranks are numbered as in this communicator wherever messages name them.
    affinity : Affinity
        Node and cores of this rank.
    place : Placement
        This rank among all ranks of its node.
    ledger : Ledger or None
        Record of this node's collectives; None without a ``World``, where no wait is watched.
    notes : list of str
        Deviations from the settings and their reasons.
    mpi_io : bool
        False where files are written without MPI, since an MPI file cannot outlive one of its ranks.
    no_sharing : str
        Reason why no group may share memory; empty if groups may.
    channels : WeakSet of Channel
        Those whose messages may need this rank's hand while it waits for something else.
    """

    comm: Any
    affinity: Affinity
    place: Placement
    ledger: Ledger | None = None
    notes: list[str] = field(default_factory=list)
    mpi_io: bool = True
    no_sharing: str = ""
    channels: "WeakSet[Any]" = field(default_factory=WeakSet)

    @classmethod
    def of_foreign(cls, comm: Any, near: Any) -> "Job":
        """Return a job without a ledger; ``near`` holds the ranks of ``comm`` on this node. All call it together."""
        affinity = affinity_of(near, comm.rank)
        return cls(comm, affinity, placement_of(near.allgather(affinity), near.rank))

    def note(self, text: str) -> None:
        """Add a note, unless it is empty or there already."""
        if text and text not in self.notes:
            self.notes.append(text)

    def name_axis(self, axis: str, world_ranks: Sequence[int]) -> str:
        """Return the words by which messages tell the calls of an axis from others; "" where all ranks make them."""
        if len(world_ranks) == self.comm.size:
            return ""
        return f" on axis {axis or '(unnamed)'} ({say_ranks(sorted(world_ranks))})"

    def record(self, comm: WatchedComm, axis: str, world_ranks: Sequence[int]) -> None:
        """Record the calls of ``comm`` in the ledger, if there is one, and compare them among its ranks."""
        comm.where, comm.ledger = self.name_axis(axis, world_ranks), self.ledger
        if self.ledger is not None:
            comm.history = self.ledger.history(comm.where, world_ranks) if comm.where else self.ledger.job

    def waiting(self, text: str) -> contextlib.AbstractContextManager[None]:
        """Record a block as a wait for other ranks."""
        return contextlib.nullcontext() if self.ledger is None else self.ledger.waiting(text)
