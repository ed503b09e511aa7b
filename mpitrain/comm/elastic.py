"""Shrinking of a world after ranks were lost: the survivors continue in a smaller one.

ULFM (User Level Failure Mitigation, Bland et al. 2013; part of MPI 5.0) as in Open MPI: an operation with a lost rank
fails on some ranks, not on all. A rank that sees a failure revokes the communicator, which ends the others' waits.
Then all shrink it and agree that no further rank was lost meanwhile; otherwise they start over.

Requests of the old communicator are never freed: freeing them after a failure can hang.
"""

import contextlib
from typing import Any

from mpi4py import MPI

from .world import World

Failure = MPI.Exception
"""Exception of operations with a lost rank."""


def shrink(world: World, facts: Any) -> tuple[World, list[Any], list[int]]:
    """Return the world of the survivors, the ``facts`` of each, and the lost ranks (as numbered at launch).

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
    """Return True on all ranks if all are ready and no further rank was lost, else False on all."""
    with contextlib.suppress(MPI.Exception):
        return bool(comm.Agree(int(ready)))
    return False
