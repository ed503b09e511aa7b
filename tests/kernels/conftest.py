"""With --gpu the same tests launch the same kernels on this machine's GPU (card.py)."""

import functools

import pytest

from tests.gpu.which import open_gpu
from tests.kernels import card, cpu

# About the shim, or about what compilers make: the same with and without a GPU. How the names of such files begin.
ELSEWHERE = "test_broken", "test_bounds", "test_plans", "test_compile", "test_cpu_sanitizers", "test_lab"


@pytest.fixture(scope="session", autouse=True)
def _on_a_gpu(request):
    if request.config.option.gpu:
        cpu.elsewhere = functools.partial(card.build, open_gpu(request.config.option.gpu))
    yield
    cpu.elsewhere = None


def pytest_collection_modifyitems(config, items):
    for item in items:
        if config.option.gpu and (item.get_closest_marker("shim") or item.path.stem.startswith(ELSEWHERE)):
            item.add_marker(pytest.mark.skip(reason="not about a kernel on a GPU"))
