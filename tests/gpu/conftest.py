import pytest

from tests.gpu.device import ShimDevice
from tests.kernels import cpu


@pytest.fixture
def device():
    """A new device that stands for a GPU."""
    return ShimDevice()


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/gpu/" in str(item.path):
            item.add_marker(cpu.needs_gxx)
