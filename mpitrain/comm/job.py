"""Facts of a job that all of its groups share."""

from dataclasses import dataclass, field
from typing import Any

from .placement import Affinity, Placement, affinity_of, placement_of
from .watch.ledger import Ledger


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
    """

    comm: Any
    affinity: Affinity
    place: Placement
    ledger: Ledger | None = None
    notes: list[str] = field(default_factory=list)
    mpi_io: bool = True
    no_sharing: str = ""

    @classmethod
    def of_foreign(cls, comm: Any, near: Any) -> "Job":
        """Return a job without a ledger; ``near`` holds the ranks of ``comm`` on this node. All call it together."""
        affinity = affinity_of(near, comm.rank)
        return cls(comm, affinity, placement_of(near.allgather(affinity), near.rank))

    def note(self, text: str) -> None:
        """Add a note, unless it is empty or there already."""
        if text and text not in self.notes:
            self.notes.append(text)
