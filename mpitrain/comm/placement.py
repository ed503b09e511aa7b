"""Placement of ranks: their nodes, and the cores that they can use."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

Affinity = tuple[int, frozenset[int]]
"""Node of a rank, as the lowest rank on it when the job began, and the cores that the rank may run on."""


class Placement(NamedTuple):
    """Placement of a rank among the ranks of its node.

    Parameters
    ----------
    node : int
        The lowest rank on the node when the job began.
    node_rank, node_size : int
        Number of this rank on the node, and number of ranks there.
    cores : int
        Cores that the rank may run on, divided by the number of ranks that share them.
    oversubscribed : bool
        True when the node's ranks outnumber its cores.
    """

    node: int
    node_rank: int
    node_size: int
    cores: int
    oversubscribed: bool


def affinity_of(node: Any, rank: int) -> Affinity:
    """Return the affinity of this rank; all ranks of the communicator ``node`` call it together."""
    return node.bcast(rank), _allowed_cores()


def placement_of(everybody: Sequence[Affinity], index: int) -> Placement:
    """Return the placement of the rank with that index among ranks with the affinities ``everybody``."""
    node, mine = everybody[index]
    near = [mask for where, mask in everybody if where == node]
    node_rank = sum(where == node for where, _ in everybody[:index])
    cores = max(1, len(mine) // near.count(mine))
    return Placement(node, node_rank, len(near), cores, len(near) > len(frozenset().union(*near)))


def _allowed_cores() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))
