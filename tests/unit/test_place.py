"""Nodes, and the cores that ranks share."""

from mpitrain.comm.placement import Place, place_among


def everybody(*ranks: tuple[int, set[int]]):
    return [(node, frozenset(cores)) for node, cores in ranks]


def test_bound_ranks_have_their_own_cores():
    ranks = everybody((0, {0, 1}), (0, {2, 3}))
    assert [place_among(ranks, r) for r in range(2)] == [Place(0, 0, 2, 2, False), Place(0, 1, 2, 2, False)]


def test_unbound_ranks_share_cores():
    ranks = everybody(*[(0, {0, 1})] * 4)
    assert place_among(ranks, 3) == Place(0, 3, 4, 1, oversubscribed=True)


def test_nodes_do_not_share():
    ranks = everybody((0, {0, 1}), (1, {0, 1}), (0, {0, 1}), (1, {0, 1}), (1, {0, 1}))
    assert place_among(ranks, 2) == Place(0, 1, 2, 1, oversubscribed=False)
    assert place_among(ranks, 4) == Place(1, 2, 3, 1, oversubscribed=True)
