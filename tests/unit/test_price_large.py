"""Prices of many ranks: all algorithms, in seconds and little memory, and the same as those of every single message."""

import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from mpitrain.collectives import COLLECTIVES, Step, find, names
from mpitrain.collectives.price import Calibration, Curve, Network, Pricer, Wire, load_calibration, parse_topology
from mpitrain.collectives.price import narrow as narrow_module
from mpitrain.collectives.price import vectorized as waves_module
from mpitrain.collectives.price.pattern import find_pattern
from mpitrain.collectives.price.periodic import pattern_times
from mpitrain.collectives.price.program import Program
from mpitrain.collectives.price.reference import exact_times
from mpitrain.collectives.price.vectorized import wave_times
from mpitrain.errors import UserError

ALL = [name for collective in COLLECTIVES for name in names(collective)]
INSIDE = Wire(Curve.line(1e-6, 1e-10), Curve.line(1e-6, 2e-10), 3e-7, 2e-7, 1.5e-6, 8192, 3e10)
ACROSS = Wire(Curve.line(4e-6, 3e-10), Curve([(0, 4e-6), (5000, 9e-6), (10000, 1e-5)]), 5e-7, 2e-7, 2e-6, 16384, 5e9)
UNEVEN = Calibration(INSIDE, ACROSS, Curve.line(1e-7, 5e-11), overlap=0.7)


@pytest.mark.no_cover
def test_thousands_of_ranks_take_seconds():
    begin = time.process_time()
    for name in ALL:
        found = Pricer(find(name), 4_000).price(1 << 20, load_calibration())
        assert found.seconds > 0, name
        assert found.num_messages > 0, name
    assert time.process_time() - begin < 20  # 4 s on a quiet machine; double_tree alone took more


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ALL)
def test_a_hundred_thousand_ranks_take_ten_seconds_and_500_mb(name):
    program = (
        "import resource\nfrom mpitrain.cli.main import main\n"
        f"code = main(['collective', 'price', {name!r}, '-n', '100000', '--bytes', '1MiB'])\n"
        "assert code == 0\nassert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 500 * 1000\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 12  # 10 on a quiet machine


@pytest.mark.parametrize("narrow", [0, 1_000_000])
@pytest.mark.parametrize("topology", ["switch", "switch:ranks_per_node=3"])
@pytest.mark.parametrize("name", ["chain", "double_tree", "swing", "all_to_all/bruck", "scatter/binomial:root=2"])
def test_both_ways_to_follow_a_wave_price_as_message_by_message(name, topology, narrow, monkeypatch):
    monkeypatch.setattr(waves_module, "NARROW", narrow)
    assert narrow_module.NARROW > 0
    algorithm, size = find(name), 11
    for num_bytes in (4, 3e5):
        chunk_bytes = num_bytes * algorithm.chunk_share(size)
        network = Network(UNEVEN, parse_topology(topology), size)
        found = wave_times(Program.of(algorithm, size), chunk_bytes, network)
        np.testing.assert_allclose(found.finish, exact_times(algorithm, chunk_bytes, network), rtol=1e-12)


@pytest.mark.parametrize("topology", ["switch", "switch:ranks_per_node=4", "switch:ranks_per_node=8"])
@pytest.mark.parametrize(
    "name", ["ring", "all_to_all/pairwise", "all_to_all/bruck", "all_gather/pat:aggregate=2", "reduce_scatter/pairwise"]
)
def test_a_few_ranks_stand_for_all(name, topology):
    algorithm, size = find(name), 48
    pattern = find_pattern(algorithm, size, (4, 8))
    network = Network(UNEVEN, parse_topology(topology), size)
    for num_bytes in (4, 1e7):
        chunk_bytes = num_bytes * algorithm.chunk_share(size)
        expected = wave_times(Program.of(algorithm, size), chunk_bytes, network)
        found = pattern_times(pattern, chunk_bytes, network)
        assert len(found.finish) < size
        assert found.num_rounds == expected.num_rounds
        np.testing.assert_allclose(np.resize(found.finish, size), expected.finish, rtol=1e-9)


@pytest.mark.parametrize("name", ["broadcast/scatter_all_gather", "broadcast/scatter_all_gather:root=5"])
def test_ranks_that_differ_at_first_repeat_later(name):
    algorithm, size = find(name), 40
    pattern = find_pattern(algorithm, size)
    program = Program.of(algorithm, size)
    assert pattern.head is not None
    assert (pattern.num_messages, pattern.most_sent) == (program.num_messages, program.most_sent)
    network = Network(Calibration.line(2e-6, 1e-9, 3e-10), parse_topology("switch"), size)
    for chunk_bytes in (1.0, 1e5):
        expected = wave_times(program, chunk_bytes, network)
        found = pattern_times(pattern, chunk_bytes, network)
        assert found.num_rounds >= expected.num_rounds
        np.testing.assert_allclose(found.finish, expected.finish, rtol=1e-9)


@pytest.mark.no_cover
def test_what_would_take_too_long_is_one_sentence():
    with pytest.raises(UserError, match="100,000 ranks with 99,999 kinds of rounds are too many to price where ranks"):
        Pricer(find("all_to_all/pairwise"), 100_000).price(1e6, load_calibration(), parse_topology("torus"))


def test_steps_that_do_nothing_cost_nothing():
    def idle(rank, size):
        yield Step()
        if rank < 2:
            yield Step(1 - rank, 0, 1 - rank, 0, True)
        yield Step()

    program = Program.of(idle, 5)
    assert program.first.tolist() == [0, 1, 2, 2, 2, 2]
    times = wave_times(program, 1000.0, Network(Calibration.line(1e-6, 1e-9, 0.0), parse_topology("switch"), 5))
    np.testing.assert_allclose(times.finish, [2e-6, 2e-6, 0, 0, 0])
