"""Built files of the lab are kept with those of the tests."""

import pytest

from tests.kernels import cpu


@pytest.fixture(autouse=True)
def _cache(monkeypatch):
    monkeypatch.setenv("MPITRAIN_KERNELS", str(cpu.BUILT))
