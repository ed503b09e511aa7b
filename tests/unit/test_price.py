"""Prices: the fast ways against the message-by-message oracle, and against the formulas of the textbooks."""

import math

import numpy as np
import pytest

from mpitrain.collectives import ALL_REDUCE, Algorithm, ScheduleError, Step, find
from mpitrain.collectives.lockstep import run_lockstep
from mpitrain.collectives.price import Calibration, Curve, Network, Pricer, Switch, Wire, parse_topology, price
from mpitrain.collectives.price.pattern import find_pattern
from mpitrain.collectives.price.periodic import pattern_times
from mpitrain.collectives.price.program import Program
from mpitrain.collectives.price.reference import exact_times
from mpitrain.collectives.price.vectorized import wave_times
from mpitrain.errors import UserError

ALPHA, BETA, GAMMA = 2e-6, 1e-9, 3e-10
TEXTBOOK = Calibration.line(ALPHA, BETA, GAMMA)
STREAM = Curve([(0, 1e-6), (4096, 4e-6)])  # of messages that a rank sends without waiting
INSIDE = Wire(Curve.line(1e-6, 1e-10), Curve.line(1e-6, 2e-10), 3e-7, 2e-7, 1.5e-6, 8192, 3e10, stream=STREAM)
ACROSS = Wire(Curve.line(4e-6, 3e-10), Curve([(0, 4e-6), (5000, 9e-6), (10000, 1e-5)]), 5e-7, 2e-7, 2e-6, 16384)
UNEVEN = Calibration(INSIDE, ACROSS, Curve.line(1e-7, 5e-11), overlap=0.7)

TOPOLOGIES = [
    "switch",
    "switch:ranks_per_node=4",
    "fat_tree:nodes_per_leaf=2,leaves_per_pod=2,oversubscription=3",
    "torus",
    "torus:dims=3x8",
]
OTHERS = ["all_gather/bruck", "all_to_all/bruck", "pipelined_ring:segments=2"]


def network(topology, size, calibration=UNEVEN):
    return Network(calibration, parse_topology(topology), size)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("name", [*ALL_REDUCE, *OTHERS])
def test_columns_price_as_message_by_message(name, topology):
    algorithm = find(name)
    for size in (1, 2, 5, 8, 13):
        for num_bytes in (4, 3e5):
            chunk_bytes = num_bytes * algorithm.chunk_share(size)
            expected = exact_times(algorithm, chunk_bytes, network(topology, size))
            found = wave_times(Program.of(algorithm, size), chunk_bytes, network(topology, size)).finish
            np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("name", ["ring", "pipelined_ring", "swing", "two_level"])
def test_repeating_ranks_price_as_all_ranks(name, topology):
    algorithm = find(name)
    for size in (16, 24):
        pattern = find_pattern(algorithm, size, (4,))
        if pattern is None:
            assert name in ("two_level", "swing")
            assert size == 24
            continue
        for num_bytes in (4, 1e7):
            chunk_bytes = num_bytes * algorithm.chunk_share(size)
            expected = wave_times(Program.of(algorithm, size), chunk_bytes, network(topology, size))
            found = pattern_times(pattern, chunk_bytes, network(topology, size))
            assert found.settled
            assert found.num_rounds == expected.num_rounds
            np.testing.assert_allclose(np.resize(found.finish, size), expected.finish, rtol=1e-9)


@pytest.mark.parametrize("size", [2, 3, 8, 12])
def test_textbook_formulas(size):
    n, rounds = 1e6, size - 1
    ring = 2 * rounds * ALPHA + 2 * rounds / size * n * BETA + rounds / size * n * GAMMA
    tree = math.ceil(math.log2(size)) * (2 * (ALPHA + n * BETA) + n * GAMMA)
    flat = 2 * rounds * (ALPHA + n * BETA) + rounds * n * GAMMA
    for name, expected in (("ring", ring), ("tree", tree), ("flat", flat)):
        assert price(find(name), size, n, TEXTBOOK).seconds == pytest.approx(expected, rel=1e-9)
    if size == 8:
        doubling = 3 * (ALPHA + n * BETA + n * GAMMA)
        halving = 6 * ALPHA + 2 * 7 / 8 * n * BETA + 7 / 8 * n * GAMMA
        assert price(find("recursive_doubling"), size, n, TEXTBOOK).seconds == pytest.approx(doubling)
        assert price(find("halving_doubling"), size, n, TEXTBOOK).seconds == pytest.approx(halving)


def test_rounds_messages_and_bytes_are_counted():
    found = price(find("ring"), 6, 600, TEXTBOOK)
    assert (found.num_rounds, found.num_messages, found.how) == (10, 60, "exact")
    assert found.bytes_sent == pytest.approx(1000)


@pytest.mark.no_cover
@pytest.mark.slow
def test_a_hundred_thousand_ranks():
    size, n = 100_000, 1e8
    found = price(find("ring"), size, n, TEXTBOOK)
    expected = (size - 1) * (2 * ALPHA + n / size * (2 * BETA + GAMMA))
    assert found.seconds == pytest.approx(expected, rel=1e-6)
    assert (found.num_messages, found.how) == (2 * size * (size - 1), "by symmetry")
    assert price(find("tree"), size, n, TEXTBOOK).seconds == pytest.approx(17 * (2 * (ALPHA + n * BETA) + n * GAMMA))


def test_too_many_messages_is_one_sentence():
    lopsided = Algorithm("lopsided", "all_reduce", lopsided_schedule, lambda size: size)
    with pytest.raises(UserError, match=r"lopsided at 20,000 ranks takes more than 30,000,000 steps"):
        Pricer(lopsided, 20_000)


def lopsided_schedule(rank, size):
    for k in range(2000 + rank % 7):
        yield Step(send_to=(rank + 1 + k) % size, send=0)


def test_an_extra_message_and_a_deadlock_are_named():
    def extra(rank, size):
        if rank == 1:
            yield Step(send_to=0, send=0)

    def stuck(rank, size):
        peer = (rank + 1) % 3
        yield Step(send_to=peer, send=0)
        yield Step(recv_from=(rank - 1) % 3, recv=0)

    with pytest.raises(ScheduleError, match="rank 1 sends another number of messages to rank 0"):
        Program.of(extra, 2)
    with pytest.raises(ScheduleError, match="rank 0 waits for ever in its round 0"):
        wave_times(Program.of(stuck, 3), 1.0, network("switch", 3))
    with pytest.raises(ScheduleError, match="rank 0 waits for ever in its round 0"):
        exact_times(stuck, 1.0, network("switch", 3))


def test_a_slow_node_holds_up_the_ring_until_it_settles():
    """One node more than the leaves hold: no two ranks are alike, and still the rounds settle."""
    calibration = Calibration(INSIDE, ACROSS, Curve.line(0.0, 0.0))
    exact = Pricer(find("ring"), 36).price(1e6, calibration, parse_topology("fat_tree:nodes_per_leaf=5"))
    found = Pricer(find("ring"), 36, followed=0).price(1e6, calibration, parse_topology("fat_tree:nodes_per_leaf=5"))
    assert found.how == "by symmetry"
    assert found.seconds == pytest.approx(exact.seconds, rel=1e-9)


def test_an_overlapped_reduction_costs_the_longer_of_the_two():
    def twice(rank, size):
        for chunk in (0, 2):
            a, b = (chunk, chunk + 1) if rank == 0 else (chunk + 1, chunk)
            yield Step(send_to=1 - rank, send=a, recv_from=1 - rank, recv=b, reduce=True)

    wire = Wire.line(1e-6, 1e-9)
    for overlap, hidden in ((0.0, 0.0), (1.0, 4e-6)):
        calibration = Calibration(wire, wire, Curve.line(4e-6, 0.0), overlap=overlap)
        times = wave_times(Program.of(twice, 2), 9000.0, Network(calibration, Switch(), 2)).finish
        assert times == pytest.approx([2 * (10e-6 + 4e-6) - hidden] * 2)


@pytest.mark.parametrize("name", ["ring", "halving_doubling", "double_tree", "all_gather/bruck", "broadcast/chain"])
def test_chunks_without_an_element_are_not_sent(name):
    found, size = find(name), 6
    for num_elements in (0, 1, 2, 5):
        sent = []

        def read(rank, chunks, num_elements=num_elements, sent=sent):
            count = found.num_chunks(size)
            held = sum(num_elements * (c + 1) // count - num_elements * c // count for c in chunks)
            sent.append(held)
            return held

        run_lockstep(found, size, read, lambda receiver, sender, payload: None)
        priced = price(found, size, 4 * num_elements)
        assert priced.num_messages == sum(held > 0 for held in sent)
        assert (priced.seconds > 0) == (num_elements > 0)
    assert price(find("barrier/dissemination"), size, 0).num_messages == size * 3
    assert price(find("all_to_all/bruck"), size, 4).num_messages == size * 3
