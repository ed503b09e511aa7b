"""Communicator of some ranks of another one, made when it is first needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mpi4py import MPI

from .job import Job
from .made import note_comm
from .placement import Affinity
from .watch.watched import WatchedComm


@dataclass(frozen=True)
class LateComm:
    """Some ranks of a communicator: these facts are known, and the communicator itself is made later.

    Parameters
    ----------
    parent : callable() -> WatchedComm
        Returns the communicator of which the ranks are a part.
    members : sequence of int
        Ranks in ``parent``, in their order here.
    rank : int
        This rank's place among them.
    axis : str
        Name for messages.
    world_ranks : list of int
        Rank in the job of each member.
    affinities : sequence of Affinity
    job : Job
    tag : int
        Distinguishes communicators of the same ranks that are made at the same time.
    """

    parent: Callable[[], WatchedComm]
    members: Sequence[int]
    rank: int
    axis: str
    world_ranks: list[int]
    affinities: Sequence[Affinity]
    job: Job
    tag: int

    @property
    def size(self) -> int:
        """Number of ranks."""
        return len(self.members)

    def make(self) -> WatchedComm:
        """Return the communicator; its ranks call it together, and the others take no part."""
        parent = self.parent()
        everyone = parent.Get_group()
        some = everyone.Incl(self.members)
        with self.job.waiting(f"create_group{self.job.name_axis(self.axis, self.world_ranks)}"):
            made = WatchedComm(note_comm(MPI.Intracomm.Create_group(parent, some, self.tag)))
        some.Free()
        everyone.Free()
        self.job.record(made, self.axis, self.world_ranks)
        return made
