"""MPI tests: every rank runs pytest, rank 0 reports, and a failure on any rank ends them all."""

import sys

import pytest
from mpi4py import MPI

from mpitrain.comm.world import World
from mpitrain.device import CPU
from tests.gpu.device import ShimDevice


@pytest.fixture(scope="session")
def world():
    return World()


@pytest.fixture(scope="session")
def alone():
    """A world of this rank only: what the same code does without the others."""
    return World(MPI.COMM_SELF)


@pytest.fixture(params=["all ranks", "some ranks"])
def device(request, world):
    """A device that stands for a GPU, on all ranks, or on those with even numbers; the others compute on the CPU."""
    if request.param == "some ranks" and world.size == 1:
        pytest.skip("one rank is all of them")
    return ShimDevice() if request.param == "all ranks" or world.rank % 2 == 0 else CPU


@pytest.fixture
def directory(world, tmp_path):
    """Rank 0's temporary directory, on all ranks."""
    return world.all_gather(tmp_path)[0]


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    for plugin in config.pluginmanager.get_plugins():
        if hasattr(plugin, "_is_testing_mpi"):
            plugin._is_testing_mpi = False  # pytest-mpi's twenty lines about the MPI library after every run
    if MPI.COMM_WORLD.rank:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        reporter._tw._file = open("/dev/null", "w")  # noqa: SIM115 (for the rest of the process)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed and MPI.COMM_WORLD.size > 1:
        # the other ranks wait in the next collective call: end them, or the test run hangs
        print(f"\n[rank {MPI.COMM_WORLD.rank}] {item.nodeid}\n{report.longreprtext}", file=sys.stderr, flush=True)
        MPI.COMM_WORLD.Abort(1)
