import gc
import shutil

import pytest

from mpitrain import cpu_kernels
from mpitrain.device import CPU


def pytest_addoption(parser):
    parser.addoption(
        "--gpu",
        nargs="?",
        const="cuda",
        choices=["cuda", "stand-in"],
        help="launch the kernels of tests/kernels on this machine's GPU (or, the same way, on what stands for one)",
    )


def pytest_collection():
    gc.disable()  # thousands of tests are made, and none is garbage


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config, items):
    if shutil.which("g++") or config.option.gpu == "cuda":
        return
    for item in items:
        if item.get_closest_marker("gxx"):
            item.add_marker(pytest.mark.skip(reason="there is no g++ here to build the kernels for the CPU"))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """One BLAS thread: fast beside other processes, and products are cut as on a rank with one core."""
    CPU.use_threads(1)


@pytest.fixture
def kernels():
    """Return the extension; level and threads are put back after the test."""
    library = cpu_kernels.C
    if library is None:  # the extension is optional: without a compiler NumPy does the work, and is tested alone
        pytest.skip(f"no kernels in C: {cpu_kernels.why}")
    level, threads = library.level(), library.threads()
    yield library
    library.use_level(level)
    library.use_threads(threads)
