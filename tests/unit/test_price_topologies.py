"""Topologies: links and loads against a walk along every message's way."""

import itertools
from collections import Counter

import numpy as np
import pytest

from mpitrain.collectives.price import Calibration, Network, parse_topology
from mpitrain.errors import UserError

PORT = 10.0


def busiest(ways, sizes, width):
    load = Counter()
    for way, n in zip(ways, sizes):
        load.update(dict.fromkeys(way, n))
    return [max((load[link] / width(link) for link in way), default=0.0) for way in ways]


def messages(num_nodes, seed):
    rng = np.random.default_rng(seed)
    target = rng.permutation(num_nodes)
    source = np.arange(num_nodes)
    keep = source != target
    return source[keep], target[keep], rng.integers(1, 100, keep.sum()).astype(float)


@pytest.mark.parametrize("dims", [(7,), (4, 4), (3, 2, 5)])
def test_torus_against_a_walk(dims):
    source, target, sizes = messages(int(np.prod(dims)), 1)
    ways = []
    for s, t in zip(source, target):
        here, there = list(np.unravel_index(s, dims)), np.unravel_index(t, dims)
        way = []
        for dim, length in enumerate(dims):
            ahead = (there[dim] - here[dim]) % length
            by = 1 if ahead <= length - ahead else -1
            while here[dim] != there[dim]:
                way.append((tuple(here), dim, by))
                here[dim] = (here[dim] + by) % length
        ways.append(way)
    text = "torus:dims=" + "x".join(map(str, dims))
    hops, busy = parse_topology(text).links(source, target, sizes, PORT)
    np.testing.assert_allclose(hops, [len(way) - 1 for way in ways])
    np.testing.assert_allclose(busy, busiest(ways, sizes, lambda link: PORT))


def test_fat_tree_against_a_walk():
    source, target, sizes = messages(24, 2)
    ways = [
        [("up", s // 4), ("down", t // 4)] if s // 4 != t // 4 else [] for s, t in zip(source.tolist(), target.tolist())
    ]
    topology = parse_topology("fat_tree:nodes_per_leaf=4,leaves_per_pod=2,oversubscription=2")
    hops, busy = topology.links(source, target, sizes, PORT)
    np.testing.assert_allclose(busy, busiest(ways, sizes, lambda link: 4 * PORT / 2))
    np.testing.assert_allclose(hops, [2 * bool(w) + 2 * (s // 8 != t // 8) for w, s, t in zip(ways, source, target)])


def test_ranks_of_a_node_share_its_port():
    network = Network(Calibration.line(1.0, 1.0, 0.0), parse_topology("switch:ranks_per_node=4"), 8)
    ranks = np.arange(4)
    no = np.zeros(4, bool)
    np.testing.assert_allclose(network.transfer(ranks, ranks + 4, np.full(4, 10.0), no), 1 + 4 * 10)
    np.testing.assert_allclose(network.transfer(ranks, (ranks + 1) % 4, np.full(4, 10.0), no), 1 + 10)


def test_more_oversubscription_is_never_cheaper():
    source, target, sizes = messages(64, 4)
    seconds = []
    for oversubscription in (1, 2, 4):
        topology = parse_topology(f"fat_tree:nodes_per_leaf=8,oversubscription={oversubscription}")
        network = Network(Calibration.line(1e-6, 1e-9, 0.0), topology, 64)
        seconds.append(network.transfer(source, target, sizes, np.zeros(len(sizes), bool)))
    assert all((a <= b).all() for a, b in itertools.pairwise(seconds))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mesh", "there is no topology 'mesh'; there are switch, fat_tree, torus"),
        ("torus:sides=3", "torus has no option 'sides'; it has ranks_per_node, hop, dims"),
        ("torus:dims=0x3", "dims of torus must be positive numbers"),
        ("torus:dims=2x2x2x2", "dims of torus must be positive numbers"),
        ("fat_tree:oversubscription=none", "oversubscription of fat_tree must be positive numbers"),
    ],
)
def test_what_cannot_be_read_is_said(text, message):
    with pytest.raises(UserError, match=message):
        parse_topology(text)


def test_a_torus_that_is_too_small_is_refused():
    with pytest.raises(UserError, match="a torus of 2x2 has 4 places, and there are 5 nodes"):
        Network(Calibration.line(1.0, 1.0, 1.0), parse_topology("torus:dims=2x2"), 5)
