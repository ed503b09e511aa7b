"""The GPU that --gpu and the marker gpu mean."""

import os

import pytest

from mpitrain import device as devices
from mpitrain.errors import UserError
from mpitrain.training.devices import take_device, use_device
from tests.gpu.device import ShimDevice


def open_gpu(which):
    """Return this machine's first GPU, or with "stand-in" what stands for one; skip where there is none."""
    if which == "stand-in":
        return ShimDevice("sm_90a")
    try:
        device = devices.open_gpu("the kernels cannot run")
    except UserError as error:
        pytest.skip(str(error))  # there is no GPU: tests/gpu runs the same kernels on what stands for one
    if os.environ.get("MPITRAIN_TEST_POOL") == "none":  # so that memcheck knows where an array ends
        device.xp.cuda.set_allocator(None)
    return device


def open_gpu_of_rank(world, config, which):
    """Return the device on which this rank trains: a GPU, or with "stand-in" what stands for one; skip without any."""
    if which == "stand-in":
        device = ShimDevice("sm_90a")
        use_device(device, world)
        return device
    sights = world.all_gather(devices.discover("cuda", world.node))
    if not any(sight.gpus for sight in sights):  # tests/mpi runs the same on what stands for a GPU
        pytest.skip(f"no GPU: {sights[0].reason}")
    return take_device(config, world)
