"""Where a rank runs: its node, and the cores that it can count on."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

Affinity = tuple[int, frozenset[int]]
"""The node, by the lowest rank that it had when the job began, and the cores that a rank may run on."""


class Placement(NamedTuple):
    """A rank's place among the ranks of its node.

    Parameters
    ----------
    node : int
        The lowest rank that it had when the job began.
    node_rank, node_size : int
        This rank among those of the node, and their number.
    cores : int
        Cores that the rank can count on: those it may run on, divided by the ranks that share them.
    oversubscribed : bool
        True when the node's ranks outnumber its cores.
    """

    node: int
    node_rank: int
    node_size: int
    cores: int
    oversubscribed: bool


def affinity_of(node: Any, rank: int) -> Affinity:
    """Return this rank's; all ranks of the communicator ``node`` call it together."""
    return node.bcast(rank), _allowed_cores()


def placement_of(everybody: Sequence[Affinity], index: int) -> Placement:
    """Return the place of the rank with that index, by the surroundings of all."""
    node, mine = everybody[index]
    near = [mask for where, mask in everybody if where == node]
    node_rank = sum(where == node for where, _ in everybody[:index])
    cores = max(1, len(mine) // near.count(mine))
    return Placement(node, node_rank, len(near), cores, len(near) > len(frozenset().union(*near)))


def _allowed_cores() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))
