"""With --gpu the same tests launch the same kernels on this machine's GPU (card.py)."""

import functools

import pytest

from tests.gpu.which import open_gpu
from tests.kernels import card, cpu


@pytest.fixture(scope="session", autouse=True)
def _on_a_gpu(request):
    if request.config.option.gpu:
        cpu.elsewhere = functools.partial(card.build, open_gpu(request.config.option.gpu))
    yield
    cpu.elsewhere = None


def pytest_collection_modifyitems(config, items):
    for item in items:
        if config.option.gpu and (item.get_closest_marker("shim") or item.path.stem.startswith(card.ELSEWHERE)):
            item.add_marker(pytest.mark.skip(reason="not about a kernel on a GPU"))
