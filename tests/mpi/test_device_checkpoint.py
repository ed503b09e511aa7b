"""A run on devices, checkpointed and resumed: there with the same bits, on CPUs with the same losses."""

import numpy as np
import pytest

from mpitrain.config import Config, Data, Model, Optimizer, Run
from mpitrain.device import CPU
from mpitrain.training.build import make_loop
from mpitrain.training.checkpoint import Checkpoint, Snapshot, folder
from mpitrain.training.control import ControlRequest
from mpitrain.training.devices import use_device
from mpitrain.training.directory.resume import restore
from mpitrain.training.directory.run_directory import CHECKPOINTS
from mpitrain.training.display.progress import make_progress
from mpitrain.training.setup import open_setup
from tests.gpu.device import ShimDevice
from tests.images import write_images
from tests.kernels import cpu

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]

STEPS, LEAVE_AFTER = 5, 2


@pytest.fixture(scope="module")
def config(tmp_path_factory, world):
    """A small network with states of two kinds (batch norm's and Adam's), five steps an epoch."""
    return Config(
        data=Data(source=write_images(world, tmp_path_factory, channels=3), batch_size=8),
        model=Model(name="resnet8"),
        optimizer=Optimizer(name="adamw", lr=0.01),
        run=Run(epochs=1, progress="none"),
    )


def run(world, config, device, path, *, leave_after=None, resume=None):
    """Return (step, weight, loss, correct) of the steps that were made, and the weights."""
    use_device(device, world)
    setup = open_setup(config, world, device)
    sums = []
    loop = make_loop(
        config,
        setup,
        world,
        make_progress("none", None, 1),
        control=lambda: ControlRequest(preempt=len(sums) + 1 == leave_after),
        run_path=path,
    )
    if resume is not None:
        restore(loop.run, Checkpoint(resume))
    step = loop._train_step

    def noted_step(batches):
        sums.append((loop.run.step, *step(batches)))
        return np.array(sums[-1][1:])

    loop._train_step = noted_step
    loop.train()
    weights = device.to_host(setup.arena.values).copy()
    loop.run.data_parallel.free()
    use_device(CPU, world)
    return np.array(sums), weights


def test_resumed_where_it_was(world, config, tmp_path, device):
    directory = world.all_gather(tmp_path)[0]
    whole, weights = run(world, config, device, None)
    first, _ = run(world, config, device, directory, leave_after=LEAVE_AFTER)
    world.barrier()
    path = folder.path_of_step(directory / CHECKPOINTS, LEAVE_AFTER)
    rest, resumed = run(world, config, device, directory / "rest", resume=path)
    if not any(world.all_gather(device is CPU)):
        np.testing.assert_array_equal(np.concatenate([first, rest]), whole)
        np.testing.assert_array_equal(resumed, weights)
    else:  # a CPU and a device round their updates differently, and the file holds a part of each rank's weights
        np.testing.assert_allclose(np.concatenate([first, rest]), whole, rtol=1e-4)
    on_cpus, _ = run(world, config, CPU, None, resume=path)
    assert list(on_cpus[:, 0]) == list(range(LEAVE_AFTER, STEPS))
    np.testing.assert_allclose(on_cpus, rest, rtol=1e-4)


def test_a_step_is_undone_on_a_device(world, config):
    device = ShimDevice()
    use_device(device, world)
    setup = open_setup(config, world, device)
    loop = make_loop(config, setup, world, make_progress("none", None, 1))
    live = [setup.arena.values, setup.arena.states, *loop.run.optimizer.slots.values()]
    before = [device.to_host(array).copy() for array in live]
    snapshot = Snapshot(loop.run.tensors)
    loop.train()
    changed = [not np.array_equal(device.to_host(array), was) for array, was in zip(live, before, strict=True)]
    snapshot.restore()
    for array, was in zip(live, before, strict=True):
        np.testing.assert_array_equal(device.to_host(array), was)
    assert all(changed)
    assert loop.run.optimizer.step_count == 0
    loop.run.data_parallel.free()
    use_device(CPU, world)
