"""What is left of a world when ranks are lost: the survivors find each other and go on in a smaller one.

ULFM (User Level Failure Mitigation, Bland et al. 2013; MPI 5.0 takes it up) as Open MPI has it: an operation with a
lost rank fails on some ranks, not on all. Whoever sees it revokes the communicator, which ends the waits of the others.
Then all shrink it, and agree that nobody else was lost meanwhile; if somebody was, they begin again.

Requests of the old communicator are never freed: freeing them after a failure can hang.
"""

import contextlib
from typing import Any

from mpi4py import MPI

from .world import World

Failure = MPI.Exception
"""What operations raise when a rank is lost."""


def shrink(world: World, facts: Any) -> tuple[World, list[Any], list[int]]:
    """Return the world of the survivors, the ``facts`` of each, and who was lost (as launched).

    All survivors call it, each as soon as it sees a ``Failure``.
    """
    comm: Any = world._comm
    while True:
        comm.Revoke()
        comm = comm.Shrink()
        gathered: list[Any] = []
        try:
            gathered = comm.allgather((world.members[world.rank], world.affinity, facts))
        except MPI.Exception:
            comm.Revoke()
        if _all_agree(comm, bool(gathered)):
            break
    members = [member for member, _, _ in gathered]
    lost = sorted(set(world.members) - set(members))
    smaller = World(comm, before=world, members=members, affinities=[around for _, around, _ in gathered])
    world.successor = smaller
    return smaller, [fact for _, _, fact in gathered], lost


def _all_agree(comm: Any, ready: bool) -> bool:
    """Return True on all ranks if all are ready and none was lost that not all know of; else False on all."""
    with contextlib.suppress(MPI.Exception):
        return bool(comm.Agree(int(ready)))
    return False
