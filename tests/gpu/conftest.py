import pytest

from tests.gpu.device import ShimDevice
from tests.gpu.which import open_gpu
from tests.kernels import cpu


@pytest.fixture
def device():
    """A new device that stands for a GPU."""
    return ShimDevice()


@pytest.fixture(scope="session")
def gpu(request):
    """This machine's first GPU (with --gpu=stand-in what stands for one, to try these tests themselves)."""
    return open_gpu(request.config.option.gpu)


@pytest.fixture
def cuda(gpu):
    """The GPU, whose precision is put back after the test."""
    yield gpu
    gpu.precision = "fp32"


@pytest.fixture(params=["stand-in", pytest.param("cuda", marks=pytest.mark.gpu)])
def anywhere(request):
    """A device for tests that run both on a GPU and on what stands for one."""
    return ShimDevice() if request.param == "stand-in" else request.getfixturevalue("cuda")


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/gpu/" in str(item.path):
            item.add_marker(cpu.needs_gxx)
