"""Choices of ``auto``: one node shares memory at every length, tuned or not; several nodes send messages."""

import pytest

from mpitrain.collectives.price import Calibration, Curve, save_calibration
from mpitrain.comm.auto import Auto
from mpitrain.comm.placement import Placement

LENGTHS = [4 << (2 * k) for k in range(13)]


class Comm:
    rank = 0

    def __init__(self, size):
        self.size = size

    def bcast(self, item):
        return item


def make(size, *, crowded=False, why_not=None):
    place = Placement(0, 0, size, 1, crowded)
    return Auto(Comm(size), "MPI", place, lambda num_bytes: why_not)


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MPITRAIN_CALIBRATION", str(tmp_path))


def names(auto):
    return [auto.choose(n).name for n in LENGTHS]


@pytest.mark.parametrize("crowded", [False, True])
@pytest.mark.parametrize("size", [2, 3, 4, 64])
def test_ranks_of_one_node_share_memory_at_every_length(size, crowded):
    assert set(names(make(size, crowded=crowded))) == {"shared"}
    assert "share the memory of one node" in make(size).choose(1000).reason


def test_without_shared_memory_there_are_messages():
    assert names(make(4, why_not="on several nodes")) == ["native" if n < 16384 else "ring" for n in LENGTHS]
    crowded = names(make(4, crowded=True, why_not="no room"))
    assert crowded == ["tree" if n < 1 << 20 else "ring" for n in LENGTHS]


def test_one_rank_has_nothing_to_reduce():
    assert set(names(make(1))) == {"native"}


def test_what_tune_has_measured_decides():
    auto = make(2)
    tuned = Calibration.line(1e-6, 1e-9, 1e-10).tuned([(4.0, "ring", 1e-6, 2e-6)], {"ring": Curve([(4, 1e-6)])})
    save_calibration(Calibration(**{**vars(tuned), "ranks": 2}), auto.path)
    assert set(names(auto)) == {"ring"}
    assert "measured" in auto.choose(1000).reason
    assert auto.untuned(1000).name == "shared"


def test_a_calibration_without_tuning_prices_messages_only():
    """A calibrated machine must not be worse off than one that is not."""
    measured = Calibration(**{**vars(Calibration.line(1e-6, 1e-9, 1e-10)), "ranks": 2})
    for why_not, expected in ((None, {"shared"}), ("on several nodes", {"native", "ring"})):
        auto = make(2, why_not=why_not)
        save_calibration(measured, auto.path)
        assert set(names(auto)) & {"shared"} == expected & {"shared"}
    assert "shared" not in set(names(make(2, why_not="on several nodes")))
