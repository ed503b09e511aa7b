"""Whole runs with activations in bf16, on a device that stands for a GPU: no product reads a copy that is stale."""

import dataclasses

import numpy as np
import pytest

from mpitrain.config import Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.context import Context
from mpitrain.device import CPU, bfloat16
from mpitrain.device.weight_copy import WeightCopies
from mpitrain.training.build import make_loop
from mpitrain.training.checkpoint import Checkpoint, folder
from mpitrain.training.control import ControlRequest
from mpitrain.training.devices import use_device
from mpitrain.training.directory.resume import restore
from mpitrain.training.directory.run_directory import CHECKPOINTS
from mpitrain.training.display.progress import make_progress
from mpitrain.training.hooks.weight_average import EMA
from mpitrain.training.setup import open_setup
from tests.images import write_images
from tests.kernels import cpu

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]


@pytest.fixture(autouse=True)
def checked(monkeypatch):
    """Compare every copy that a product reads with its weights; return the number of reads."""
    find, reads = WeightCopies.find, []

    def checked_find(copies, weights):
        found = find(copies, weights)
        if found is not None:
            masters, copy = found.weights.memory, found.array.memory
            np.testing.assert_array_equal(masters.astype(bfloat16()).view(np.uint16), copy.view(np.uint16))
            reads.append(found)
        return found

    monkeypatch.setattr(WeightCopies, "find", checked_find)
    return reads


@pytest.fixture
def device(device):
    if device is not CPU:
        device.precision = "bf16"
    return device


@pytest.fixture(scope="module")
def config(tmp_path_factory, world):
    return Config(
        data=Data(source=write_images(world, tmp_path_factory, channels=1), batch_size=16),
        model=Model(name="mlp", widths=(16,), dropout=0.1),
        optimizer=Optimizer(name="adamw", lr=0.01),
        run=Run(epochs=1, progress="none"),
    )


def run(world, config, device, path=None, *, leave_after=None, resume=None, hooks=()):
    """Return the losses of all steps, the weights, the notes and the context."""
    use_device(device, world)
    before, sums = len(world.notes), []
    setup = open_setup(config, world, device)
    loop = make_loop(
        config,
        setup,
        world,
        make_progress("none", None, config.run.epochs),
        hooks=hooks,
        control=lambda: ControlRequest(preempt=len(sums) + 1 == leave_after),
        run_path=path,
    )
    if resume is not None:
        restore(loop.run, Checkpoint(resume))
    step = loop._train_step
    loop._train_step = lambda batches: sums.append(step(batches)) or sums[-1]
    loop.train()
    weights = device.to_host(setup.arena.values).copy()
    loop.run.data_parallel.free()
    use_device(CPU, world)
    return np.array(sums), weights, world.notes[before:], loop.run.ctx


@pytest.mark.parametrize("hooks", [(), (EMA,)], ids=["plain", "average"])
def test_runs(world, alone, config, device, checked, hooks):
    found, weights, _, ctx = run(world, config, device, hooks=[make(0.9) for make in hooks])
    assert bool(checked) == (device is not CPU)
    assert ctx.dtype == device.activation_dtype
    if not hooks:
        expected, exact, _, _ = run(alone, config, CPU)
        np.testing.assert_allclose(found[:, 1], expected[:, 1], rtol=2**-6)
        np.testing.assert_allclose(weights, exact, atol=2**-5)


def test_resumed_where_it_was(world, config, tmp_path, device):
    directory = world.all_gather(tmp_path)[0]
    whole, weights, _, _ = run(world, config, device)
    first, _, _, _ = run(world, config, device, directory, leave_after=1)
    world.barrier()
    path = folder.path_of_step(directory / CHECKPOINTS, 1)
    rest, resumed, _, _ = run(world, config, device, directory / "rest", resume=path)
    if not any(world.all_gather(device is CPU)):
        np.testing.assert_array_equal(np.concatenate([first, rest]), whole)
        np.testing.assert_array_equal(resumed, weights)
    else:
        np.testing.assert_allclose(np.concatenate([first, rest]), whole, rtol=2**-7)


def test_a_mesh_with_cpus_keeps_activations_in_fp32(world, alone, config, device, checked):
    """A CPU has no bf16; between GPUs, messages are as activations are."""
    if world.size == 1:
        pytest.skip("one rank has no mesh")
    parallel, mixed = Parallel(mesh=f"pipe={world.size}"), any(world.all_gather(device is CPU))
    config = dataclasses.replace(config, model=Model(name="mlp", widths=(16,) * 4))
    found, _, notes, ctx = run(world, dataclasses.replace(config, parallel=parallel), device)
    assert ctx.dtype == (np.float32 if mixed else bfloat16())
    assert Context(device=device).dtype == ctx.dtype
    assert bool(checked) == (device is not CPU), "products read the copy"
    assert (mixed and device is not CPU) == any("activations stay in fp32" in note for note in notes)
    np.testing.assert_allclose(found[:, 1], run(alone, config, CPU)[0][:, 1], rtol=2**-6)
