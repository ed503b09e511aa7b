import pytest

from mpitrain.device import CPU


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """One BLAS thread: fast beside other processes, and products are cut as on a rank with one core."""
    CPU.use_threads(1)
