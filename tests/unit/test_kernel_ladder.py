"""The predicted times of the ladder's rungs, by hand where that is short."""

from itertools import pairwise

import pytest

from mpitrain.cli.main import main
from mpitrain.kernels.ladder import RUNGS
from mpitrain.kernels.predicted.ladder import METRICS, predict
from mpitrain.kernels.predicted.rates import H100
from scripts.make_ladder import IMAGES, PAGE, PICTURES, page, ring

BY_NUMBER = {rung.number: rung for rung in RUNGS}


def test_numbers_are_those_of_the_files():
    assert list(BY_NUMBER) == list(range(1, len(RUNGS) + 1))
    assert BY_NUMBER[12].title == "12, a wider tile"


def test_a_tile_is_limited_by_the_way_to_the_l2_cache():
    """One round of one tile a multiprocessor: 128 steps of 48 KB, then 128 KB of out."""
    found = predict(BY_NUMBER[12], 128 * 12, 256 * 11, 8192)
    clocks = 128 * (128 + 256) * 128 / H100.l2_bytes + H100.start + 128 * 256 * 4 / H100.l2_bytes
    assert found.limit == "L2 cache"
    assert found.seconds == pytest.approx(clocks / H100.clock_hz)


def test_multicast_takes_half_of_b_from_the_cache():
    found = predict(BY_NUMBER[16], 128 * 12, 256 * 11, 8192)
    clocks = 128 * 128 * 256 * 64 / 2048 + 128 * 256 * 4 / H100.l2_bytes
    assert found.limit == "tensor cores"
    assert found.seconds == pytest.approx(clocks / H100.clock_hz)


def test_limits_of_the_first_rungs():
    assert predict(BY_NUMBER[4], 4096, 4096, 4096).limit == "latency"
    assert predict(BY_NUMBER[1], 4096, 4096, 4096).limit == "shared memory and L1"


@pytest.mark.parametrize("shape", [(1, 1, 1), (8192, 8192, 8192), (300, 70000, 0)])
def test_no_rung_is_faster_than_the_units(shape):
    m, n, k = shape
    for rung in RUNGS:
        found = predict(rung, m, n, k)
        assert found.limit in METRICS
        unit = "fp32" if rung.inputs == "fp32" else "wgmma"
        assert found.seconds >= m * n * k / (H100.multiply_adds[unit] * H100.processors * H100.clock_hz)


def test_the_command(capsys):
    assert main(["kernel", "ladder", "--shape", "4096x768x768"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("4096 x 768 x 768 on H100 SXM, predicted: no GPU was asked")
    assert all(rung.title in said for rung in RUNGS)
    assert main(["kernel", "ladder", "--shape", "4096x768"]) == 2


def test_the_page_and_its_pictures():
    assert page(PAGE.read_text()) == PAGE.read_text(), "run: python scripts/make_ladder.py"
    for name, draw in PICTURES.items():
        assert (IMAGES / name).read_text() == draw(), "run: python scripts/make_ladder.py"


def test_a_stage_has_one_use_at_a_time():
    uses = list(ring(3, 20, fetch=4, multiply=1, issue=0.5))
    for before, after in zip(uses, uses[3:]):
        assert before.stage == after.stage
        assert before.released <= after.requested < after.arrived <= after.read < after.released
    assert all(one.released <= two.read for one, two in pairwise(uses))
