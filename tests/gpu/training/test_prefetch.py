"""Batches that are copied to a device one step ahead: stages of a pipeline use samples, targets or neither."""

import functools

import numpy as np
import pytest

from mpitrain.data.dataset import Split
from mpitrain.data.loader import Loader, has_contents
from mpitrain.training.device_prefetch import DevicePrefetcher
from tests.gpu.arrays import Array
from tests.gpu.lagging import AheadDevice, HastyStream, LaggingDevice
from tests.late import Over

N, BATCH, MICROBATCHES = 45, 10, 2
DEVICES = {
    "all is late": LaggingDevice,
    "the computation runs ahead": AheadDevice,
    "copies run ahead": functools.partial(LaggingDevice, copies=HastyStream),
}


def make_loader(device, prefetch=0, **used):
    rng = np.random.default_rng(3)
    split = Split(rng.standard_normal((N, 3, 2)).astype(np.float32), rng.integers(0, 7, N))
    options = {"batch_size": BATCH, "rank": 0, "size": 1, "seed": 5, "normalizer": None, "microbatches": MICROBATCHES}
    return Loader(split, prefetch=prefetch, device=device, **options, **used)


def read(device, array):
    """Queue a copy of an array, as a computation reads it; return its memory."""
    kept = device.empty(array.shape, array.dtype)
    device.compute.copy(kept, array)
    return kept


def right(device, prefetcher, loader):
    """Return whether the computation finds all samples and targets of two epochs; the loader's memory is used again."""
    found = []
    for epoch in range(2):
        for batches in prefetcher(loader.epoch(epoch)):
            for batch in batches:
                found += [(read(device, batch.x), loader.split.x[batch.indices])]
                found += [(read(device, batch.y), loader.split.y[batch.indices])]
    device.synchronize()
    assert len(found) == 2 * 2 * MICROBATCHES * len(loader)
    return all(np.array_equal(kept.memory, expected) for kept, expected in found)


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("name", DEVICES)
def test_batches_come_in_time(name, prefetch):
    device = DEVICES[name]()
    assert right(device, DevicePrefetcher(device), make_loader(device, prefetch))


BREAKS = {
    "the loader's memory is used again before it is copied": ("record", lambda timed=False: Over()),
    "a batch is copied onto one that is still read": ("wait_for", lambda event: None),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_a_forgotten_wait_is_found(broken):
    found = []
    for make in DEVICES.values():
        device = make()
        prefetcher = DevicePrefetcher(device)
        setattr(prefetcher._stream, *BREAKS[broken])
        found.append(right(device, prefetcher, make_loader(device)))
    assert not all(found)


@pytest.mark.parametrize("inputs", [True, False])
@pytest.mark.parametrize("targets", [True, False])
def test_what_a_stage_does_not_use_is_not_copied(inputs, targets):
    """Its arrays have the right shapes, and neither memory on the device nor copies."""
    device = AheadDevice()
    loader = make_loader(device, inputs=inputs, targets=targets)
    device.buffers = 0
    for batches in DevicePrefetcher(device)(loader.epoch()):
        for batch in batches:
            n = len(batch.indices)
            assert (len(batch), batch.x.shape, batch.y.shape) == (n, (n, 3, 2), (n,))
            for array, used, whole in ((batch.x, inputs, loader.split.x), (batch.y, targets, loader.split.y)):
                assert isinstance(array, Array) == used
                if used:
                    np.testing.assert_array_equal(device.to_host(array), whole[batch.indices])
                else:
                    assert not has_contents(array)
                    assert array.base is not None
    copied = inputs + targets
    assert device.copies == copied * MICROBATCHES * len(loader)
    assert device.buffers <= copied * MICROBATCHES * 2  # two steps' worth, used in turn
    assert (device.buffers == 0) == (copied == 0)
