"""Whole runs on a device that stands for a GPU, on all ranks or on some: the losses are those of the CPU."""

import dataclasses

import numpy as np
import pytest

from mpitrain.config import Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.device import CPU
from mpitrain.training.devices import use_device
from mpitrain.training.progress import make_progress
from mpitrain.training.session import open_session
from mpitrain.training.trainer import Trainer
from tests.gpu.device import ShimDevice
from tests.kernels import cpu

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]

STEPS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory, world):
    """A small data set, so that an epoch has three steps, the last of which is not full."""
    path = world.all_gather(str(tmp_path_factory.mktemp("data") / "small.npz"))[0]
    if world.rank == 0:
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((50, 8, 8, 1)).astype(np.float32), rng.integers(0, 4, 50)
        np.savez(path, x_train=x[:38], y_train=y[:38], x_test=x[38:], y_test=y[38:])
    world.barrier()
    return f"npz:{path}"


def run(world, config, device):
    """Return the losses of all steps, the test score and the weights."""
    use_device(device, world)
    session = open_session(config, world, device)
    trainer = Trainer(config, session, world, None, make_progress("none", None, config.run.epochs))
    losses = []
    step = trainer._train_step
    trainer._train_step = lambda batches: losses.append(step(batches)) or losses[-1]
    trainer.run()
    weights = device.to_host(session.arena.values).copy()
    trainer.data_parallel.free()
    use_device(CPU, world)
    return np.array(losses), trainer.record.results[-1].test, weights


def config_of(data, **branches):
    config = Config(
        data=Data(source=data, batch_size=16),
        model=Model(name="convnet"),
        optimizer=Optimizer(lr=0.02, schedule="constant"),
        run=Run(epochs=1, progress="none"),
    )
    return dataclasses.replace(config, **branches)


@pytest.mark.parametrize("which", ["all ranks", "some ranks"])
@pytest.mark.parametrize("all_reduce", ["auto", "ring"])
def test_losses_are_the_cpus(world, alone, data, which, all_reduce):
    config = config_of(data, parallel=Parallel(all_reduce=all_reduce))
    device = ShimDevice() if which == "all ranks" or world.rank % 2 == 0 else CPU
    found = run(world, config, device)
    expected = run(alone, config, CPU)
    assert len(found[0]) == STEPS
    np.testing.assert_allclose(found[0], expected[0], rtol=2e-5)
    assert found[1]["accuracy"] == expected[1]["accuracy"]
    assert found[1]["loss"] == pytest.approx(expected[1]["loss"], rel=1e-4)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-3, atol=1e-5)
    assert (device is CPU) == (not getattr(device, "launches", None))


def test_dropout_clipping_microbatches_and_adam(world, alone, data):
    config = config_of(
        data,
        model=Model(name="mlp", widths=(16,), dropout=0.4),
        optimizer=Optimizer(name="adamw", lr=0.01, weight_decay=0.1, clip_norm=0.1, accumulate=2),
    )
    found = run(world, config, ShimDevice() if world.rank % 2 == 0 else CPU)
    expected = run(alone, config, CPU)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-2, atol=1e-4)


def test_batch_normalisation_over_ranks(world, alone, data):
    config = config_of(data, model=Model(name="resnet8"))
    found = run(world, config, ShimDevice() if world.rank % 2 == 0 else CPU)
    expected = run(alone, config, CPU)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
