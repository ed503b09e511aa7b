"""Parts of a job whose ranks work on their own, for as long as the job lasts."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from mpi4py import MPI

from .world import World

NAP = 0.01  # seconds between two looks at whether all ranks are there
MOST_TAGS = 30_000  # MPI has 32,767 at least


class Part:
    """Some ranks of a job, which meet asleep and make a world of their own for each work.

    Parameters
    ----------
    world : World
        The job.
    members : sequence of int
        Ranks in it, this one among them.

    Attributes
    ----------
    members : list of int
    rank, size : int
        This rank's place among the members, and their number.
    """

    def __init__(self, world: World, members: Sequence[int]):
        self._world, self.members = world, list(members)
        self.rank, self.size = self.members.index(world.rank), len(self.members)
        self._times = 0
        self._comm: Any = self._make()

    def _make(self) -> Any:
        """Return a communicator of the members; they call it together, and the other ranks take no part."""
        base: Any = MPI.Intracomm(self._world._comm)
        everyone = base.Get_group()
        some = everyone.Incl(self.members)
        self._times += 1
        made = base.Create_group(some, self._times % MOST_TAGS)
        some.Free()
        everyone.Free()
        return made

    def renew(self) -> None:
        """Begin with a new communicator, in which nothing is left of a work that was given up."""
        self._comm = self._make()

    def share(self, item: Any) -> Any:
        """Return the first member's ``item``; the others sleep until it has one."""
        if self.size == 1:
            return item
        request = self._comm.Ibarrier()
        while not request.Test():
            time.sleep(NAP)
        return self._comm.bcast(item)

    def world(self, on_hang: Callable[[str], None]) -> World:
        """Return a new world of the members, all of which call it together; see ``World.close``."""
        return World(self._comm, outer=self._world, on_hang=on_hang)


def parts_of(world: World, size: int) -> list[list[int]]:
    """Return the ranks of each part of ``size``, neighbors on a node where that can be; some ranks may be left over.

    All ranks call it together.
    """
    nodes = [node for node, _ in world.all_gather(world.affinity)]
    order = sorted(range(world.size), key=lambda rank: (nodes[rank], rank))
    return [sorted(order[first : first + size]) for first in range(0, world.size - size + 1, size)]
