"""Nodes, and the cores that ranks share."""

from mpitrain.comm.placement import Placement, placement_of


def everybody(*ranks: tuple[int, set[int]]):
    return [(node, frozenset(cores)) for node, cores in ranks]


def test_bound_ranks_have_their_own_cores():
    ranks = everybody((0, {0, 1}), (0, {2, 3}))
    assert [placement_of(ranks, r) for r in range(2)] == [Placement(0, 0, 2, 2, False), Placement(0, 1, 2, 2, False)]


def test_unbound_ranks_share_cores():
    ranks = everybody(*[(0, {0, 1})] * 4)
    assert placement_of(ranks, 3) == Placement(0, 3, 4, 1, oversubscribed=True)


def test_nodes_do_not_share():
    ranks = everybody((0, {0, 1}), (1, {0, 1}), (0, {0, 1}), (1, {0, 1}), (1, {0, 1}))
    assert placement_of(ranks, 2) == Placement(0, 1, 2, 1, oversubscribed=False)
    assert placement_of(ranks, 4) == Placement(1, 2, 3, 1, oversubscribed=True)
