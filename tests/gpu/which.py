"""The GPU that --gpu and the marker gpu mean."""

import os

import pytest

from mpitrain.device import CPU, assign, look, open_device
from tests.gpu.device import ShimDevice


def open_gpu(which):
    """Return this machine's first GPU, or with "stand-in" what stands for one; skip where there is none."""
    if which == "stand-in":
        return ShimDevice("sm_90a")
    sight = look("cuda", 0)
    device = open_device(assign([sight])[0])
    if device is CPU:
        pytest.skip(f"no GPU: {sight.reason}")
    if os.environ.get("MPITRAIN_TEST_POOL") == "none":  # so that memcheck knows where an array ends
        device.xp.cuda.set_allocator(None)
    return device
