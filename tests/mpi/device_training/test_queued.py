"""Updates that are queued before the host knows their numbers."""

import numpy as np
import pytest

from mpitrain.config import Compute, Optimizer
from mpitrain.device import CPU
from mpitrain.optim import QueuedUpdate, queued_update
from mpitrain.training.build import make_loop
from mpitrain.training.devices import use_device
from mpitrain.training.display.progress import make_progress
from mpitrain.training.setup import open_setup
from tests.gpu.device import ShimDevice
from tests.kernels import cpu
from tests.mpi.device_training.runs import Looks, config_of, run

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]


@pytest.mark.parametrize(
    "optimizer", ["sgd:momentum=0.9", "adamw:weight_decay=0.1", "adagrad", "lars:weight_decay=0.01"]
)
@pytest.mark.parametrize("graph", ["off", "on"])
def test_updates_are_queued_before_the_host_reads_sums(world, data, monkeypatch, optimizer, graph):
    """With the bits of updates by the host's numbers; clipping is at work in some steps, and rates change."""
    if world.size > 2:
        pytest.skip("more ranks add nothing")
    config = config_of(
        data,
        optimizer=Optimizer(name=optimizer, lr=0.02, schedule="cosine", clip_norm=1.0),
        compute=Compute(device="cuda", cuda_graph=graph),
    )
    queued, graphs = [], []
    queue, capture = QueuedUpdate.queue, QueuedUpdate._capture
    monkeypatch.setattr(QueuedUpdate, "queue", lambda self: (queued.append(1), queue(self)))
    monkeypatch.setattr(QueuedUpdate, "_capture", lambda self: graphs.append(capture(self)) or graphs[-1])
    found = run(world, config, ShimDevice())
    assert len(queued) == len(found[0])
    assert [graph is not None for graph in graphs] == [True] * (config.compute.cuda_graph == "on")
    expected = run(world, config, ShimDevice(), hooks=[Looks()])
    assert len(queued) == len(found[0]), "a hook has a say"
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[2], expected[2])


def test_a_large_update_is_not_captured(world, data, monkeypatch):
    """Its weights and slots would have to be copied; the bits are the same."""
    config = config_of(data, compute=Compute(device="cuda", cuda_graph="on"))
    captured = run(world, config, ShimDevice())
    monkeypatch.setattr(queued_update, "MOST_BYTES", 0)
    found = run(world, config, ShimDevice())
    np.testing.assert_array_equal(found[2], captured[2])


def test_a_queued_update_leaves_out_what_is_not_finite(world, data):
    """Weights, slots and the number of steps are those of the same steps without it."""
    if world.size > 2:
        pytest.skip("more ranks add nothing")
    config = config_of(data, optimizer=Optimizer(name="adam", lr=0.01, non_finite="skip"))
    results = []
    for hooks in ((), [Looks()]):
        device = ShimDevice()
        use_device(device, world)
        setup = open_setup(config, world, device)
        setup.dataset.train.x[5] = np.nan
        loop = make_loop(config, setup, world, make_progress("none", None, 1), hooks=hooks)
        loop.train()
        results.append(
            (device.to_host(setup.arena.values).copy(), loop.run.optimizer.step_count, loop.run.results.skipped)
        )
        loop.run.data_parallel.free()
        use_device(CPU, world)
    (found, *counts), (expected, *wanted) = results
    assert counts == wanted
    assert counts[1] > 0
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, expected)
