"""Demands on machine code that the compile tests of all kernels share."""

import re
from collections import Counter

import pytest

from mpitrain.kernels import nvrtc

BOTH = "nvcc", "NVRTC"
by_both = pytest.mark.parametrize("compiler", BOTH)
FENCES = ("MEMBAR.ALL.GPU", "CCTL.IVALL")  # wait for all stores; drop all of L1

GROWTH = 1.1  # of the numbers of instructions in tests, which are those of today


def check_resources(said: str) -> None:
    """No warnings, nor remarks on wgmma; no stack, no spills."""
    assert "warning" not in said, said
    assert not nvrtc.wgmma_remarks(said), said
    frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", said)
    assert frames
    assert set(frames) == {("0", "0", "0")}, said
    assert all(int(shared) <= 48 * 1024 for shared in re.findall(r"(\d+) bytes smem", said))


def per_thread(step: Counter) -> int:
    """Return the instructions that are neither products, waits, nor of the uniform unit."""
    return sum(n for name, n in step.items() if not name.startswith(("U", "HGMMA", "WARPGROUP", "SYNCS", "NOP")))
