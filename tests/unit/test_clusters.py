"""The grid of a kernel of clusters: no more than the driver says run at once."""

import ctypes

import pytest

from mpitrain.device import clusters
from mpitrain.kernels.gemm import TILES, Shape
from mpitrain.kernels.gemm_plan import make_plan
from mpitrain.kernels.launch import launch

FUNCTION = 0x7F0012345678
PAIRS, SINGLE = (next(tile for tile in TILES if tile.is_persistent and tile.cluster == size) for size in (2, 1))
SHAPE = Shape(8192, 8192, 64, inputs="bf16")


class Driver:
    """A libcuda that answers this question alone."""

    def __init__(self, answer, error=0):
        self.answer, self.error, self.asked = answer, error, []

    def cuOccupancyMaxActiveClusters(self, count, function, config):
        said = config._obj
        self.asked.append((function.value, *said.grid, *said.block, said.shared_bytes, said.num_attributes))
        count._obj.value = self.answer
        return self.error


class Gpu:
    """A device of 132 multiprocessors that only notes grids."""

    arch = "sm_90a"

    def __init__(self):
        self.grids = []

    def load(self, kernel, cubin, shared_bytes):
        return FUNCTION

    def max_clusters(self, function, grid, block, shared_bytes):
        return clusters.max_active_clusters(function, grid, block, shared_bytes)

    def launch(self, function, grid, block, shared_bytes, arguments):
        self.grids.append(grid)


def launched(device, tile):
    made = make_plan(SHAPE, tile, 1, 132)
    launch(device, made.kernel, made.launch, ())
    return device.grids[-1]


@pytest.mark.parametrize(
    ("driver", "blocks"),
    [
        (Driver(60), 120),
        (Driver(66), 132),
        (Driver(1000), 132),
        (Driver(60, error=1), 132),
        (Driver(0), 132),
        (object(), 132),  # from before CUDA 11.8
    ],
)
def test_the_grid(monkeypatch, driver, blocks):
    monkeypatch.setattr(clusters.ctypes, "CDLL", lambda name: driver)
    assert launched(Gpu(), PAIRS) == (blocks, 1, 1)


def test_without_a_driver_the_grid_is_that_of_the_plan(monkeypatch):
    monkeypatch.setattr(clusters, "DRIVER", "libcuda-that-is-not-there.so.1")
    assert launched(Gpu(), PAIRS) == (132, 1, 1)


def test_the_driver_is_asked_once_for_each_kernel_and_device(monkeypatch):
    driver, devices = Driver(50), (Gpu(), Gpu())
    monkeypatch.setattr(clusters.ctypes, "CDLL", lambda name: driver)
    for device in devices * 3:
        assert launched(device, PAIRS) == (100, 1, 1)
    assert driver.asked == [(FUNCTION, 132, 1, 1, 384, 1, 1, PAIRS.shared_bytes, 0)] * 2
    assert launched(devices[0], SINGLE) == (132, 1, 1)
    assert len(driver.asked) == 2, "no clusters, no question"


def test_the_record_is_laid_out_as_in_c():
    """CUlaunchConfig of cuda.h: seven unsigned int, two pointers, one unsigned int."""
    config = clusters.LaunchConfig
    assert (config.stream.offset, config.attributes.offset, config.num_attributes.offset) == (32, 40, 48)
    assert ctypes.sizeof(config) == 56
