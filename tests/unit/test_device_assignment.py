"""Assignment of GPUs to ranks, for all that schedulers show to the ranks of a node."""

import ctypes
import sys
import types

import pytest

from mpitrain.device import CPU, GpuSlot, VisibleGpus, assign, discover, discovery, notes, open_device
from mpitrain.errors import UserError

FOUR = ("A", "B", "C", "D")


def numbers(sights):
    return [place.number for place in assign(sights)]


def gpus(sights):
    """Return the (node, UUID) that each rank takes."""
    return [s.node if p.number is None else (s.node, s.gpus[p.number]) for s, p in zip(sights, assign(sights))]


def test_all_see_all():
    assert numbers([VisibleGpus(0, FOUR)] * 4) == [0, 1, 2, 3]


def test_each_sees_its_own_as_number_zero():
    sights = [VisibleGpus(0, (gpu,)) for gpu in FOUR]
    assert numbers(sights) == [0, 0, 0, 0]
    assert {place.ranks for place in assign(sights)} == {1}


def test_nodes_do_not_share_even_where_uuids_are_equal():
    sights = [VisibleGpus(node, ("A",)) for node in (0, 1)]
    assert {place.ranks for place in assign(sights)} == {1}


def test_ranks_are_placed_within_their_node_in_any_order_of_ranks():
    sights = [VisibleGpus(rank % 2 * 7, FOUR) for rank in range(8)]  # placed round-robin over two nodes
    assert numbers(sights) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_more_ranks_than_gpus_share_evenly():
    places = assign([VisibleGpus(0, ("A", "B"))] * 5)
    assert [p.number for p in places] == [0, 1, 0, 1, 0]
    assert [p.ranks for p in places] == [3, 2, 3, 2, 3]


def test_a_rank_with_no_choice_is_not_left_behind():
    sights = [VisibleGpus(0, ("A", "B")), VisibleGpus(0, ("A",))]
    assert gpus(sights) == [(0, "B"), (0, "A")]


def test_a_visible_list_in_another_order():
    sights = [VisibleGpus(0, ("A", "B")), VisibleGpus(0, ("B", "A"))]
    assert gpus(sights) == [(0, "A"), (0, "B")]
    assert numbers(sights) == [0, 0]


def test_some_have_none():
    assert assign([VisibleGpus(0, ("A",)), VisibleGpus(1)]) == [GpuSlot(0, 1), GpuSlot()]


IN_TURN = "unless CUDA MPS runs, a GPU works for one of its ranks at a time"


@pytest.mark.parametrize(
    ("asked", "sights", "expected"),
    [
        ("auto", [VisibleGpus(0, FOUR)] * 4, []),
        ("auto", [VisibleGpus(0, (), "there is no NVIDIA driver here")] * 2, []),
        ("auto", [VisibleGpus(0, ("A",))] * 3, [f"3 ranks share 1 GPU: {IN_TURN}"]),
        ("auto", [VisibleGpus(0, ("A", "B"))] * 3, [f"3 ranks share 2 GPUs: {IN_TURN}"]),
        (
            "cuda",
            [VisibleGpus(0, ("A",)), VisibleGpus(1, (), "no GPU is visible")],
            ["rank 1 without a GPU, on the CPU: no GPU is visible"],
        ),
        (
            "auto",
            [VisibleGpus(0, ("A",)), *[VisibleGpus(1, (), "why")] * 2],
            ["2 ranks (rank 1 first) without a GPU, on the CPU: why"],
        ),
        ("auto", [VisibleGpus(0, (), "pip install x")], ["on the CPU: pip install x"]),
    ],
)
def test_notes(asked, sights, expected):
    assert notes(asked, sights, assign(sights)) == expected


def test_no_gpu_where_one_was_asked_for():
    sights = [VisibleGpus(0, (), "no GPU is visible")] * 2
    with pytest.raises(UserError, match="--device cuda: no rank has a GPU: no GPU is visible"):
        notes("cuda", sights, assign(sights))


class Driver:
    """The functions of libcuda that ``discover`` calls."""

    def __init__(self, count, error=0, version=12040):
        self.count, self.error, self.version = count, error, version

    def cuInit(self, flags):
        return self.error

    def cuDeviceGetCount(self, count):
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device, number):
        device._obj.value = number
        return 0

    def cuDeviceGetUuid_v2(self, uuid, device):
        uuid[15] = device.value + 1
        return 0

    def cuDriverGetVersion(self, version):
        version._obj.value = self.version
        return 0


@pytest.fixture
def driver(monkeypatch):
    def put(found, cupy=None):
        monkeypatch.setattr(ctypes, "CDLL", lambda name: found)
        monkeypatch.setitem(sys.modules, "cupy", cupy)  # None makes the import fail
        return discover("auto", 3)

    return put


def cupy_with(get_count):
    return types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=get_count)))


def test_discover_finds_uuids(driver):
    assert driver(Driver(2), cupy_with(lambda: 2)) == VisibleGpus(3, ("00" * 15 + "01", "00" * 15 + "02"))


@pytest.mark.parametrize(("version", "extra"), [(12040, "cuda12"), (13000, "cuda13")])
def test_discover_says_what_to_install(driver, version, extra):
    seen = driver(Driver(1, version=version))
    assert seen.gpus == ()
    assert f"pip install 'mpitrain[{extra}]'" in seen.reason


def test_discover_says_that_cupy_does_not_start(driver):
    def fail():
        raise RuntimeError("driver too old")

    assert "driver too old" in driver(Driver(1), cupy_with(fail)).reason


def test_discover_says_what_hides_the_gpus(driver, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert driver(Driver(0, error=discovery.NO_DEVICE)).reason == "no GPU is visible (CUDA_VISIBLE_DEVICES is '')"
    assert "error 803" in driver(Driver(0, error=803)).reason


def test_nothing_is_loaded_without_a_driver(monkeypatch):
    monkeypatch.setattr(discovery, "DRIVER", "libcuda-that-is-not-there.so.1")
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert discover("auto", 0).reason == "there is no NVIDIA driver here (libcuda-that-is-not-there.so.1)"
    assert discover("cpu", 0) == VisibleGpus(0, (), "--device cpu")
    assert "cupy" not in sys.modules
    assert open_device(GpuSlot()) is CPU
