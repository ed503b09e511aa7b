"""Calibrating, measuring and tuning on a few ranks: what comes out is whole, and the same everywhere."""

import pytest

from mpitrain.collectives import find
from mpitrain.collectives.price import Calibration, Pricer, choose
from mpitrain.comm.bench import bench, tune
from mpitrain.comm.calibrate import calibrate
from mpitrain.errors import AgreedError

SIZES = (4, 4096, 65536)

pytestmark = pytest.mark.mpi


@pytest.fixture(autouse=True)
def _two_ranks(world):
    if world.size == 1:  # there is nobody to send to; the other runs of scripts/test have 2 to 4 ranks
        pytest.skip("needs two ranks")


def test_a_calibration_is_whole_and_the_same_on_all_ranks(world):
    found = calibrate(world, sizes=SIZES, repeats=2)
    assert all(other == found.to_json() for other in world.all_gather(found.to_json()))
    assert Calibration.from_json(found.to_json()).to_json() == found.to_json()
    assert (found.ranks, found.oversubscribed) == (world.size, world.oversubscribed)
    assert found.inside.one_way(65536) > 0
    assert 0 <= found.overlap <= 1
    assert Pricer(find("ring"), world.size).price(1e6, found).seconds > 0


def test_what_tune_finds_is_what_is_chosen(world):
    calibration = Calibration.line(1e-6, 1e-9, 1e-10)
    rows = bench(world, ["ring", "tree"], SIZES)
    assert [(row.algorithm, row.bytes) for row in rows] == [
        (name, n) for n in SIZES for name in ("native", "ring", "tree")
    ]
    assert all(other == rows for other in world.all_gather(rows))
    tuned = tune(calibration, rows)
    for start, name, seconds, native in tuned.best:
        assert seconds <= native
        if tuned.ranks == world.size:
            assert choose(world.size, start, tuned).name == name


def test_an_unknown_algorithm_ends_on_all_ranks(world):
    with pytest.raises(AgreedError, match="no all-reduce 'circle'"):
        bench(world, ["circle"], SIZES)
