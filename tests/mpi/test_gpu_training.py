"""Digits and Fashion-MNIST on GPUs, shared where ranks outnumber them: the losses are those of one rank on the CPU."""

import os
from pathlib import Path

import numpy as np
import pytest

from mpitrain.config import Compute, Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.device import CPU, discover
from mpitrain.training.build import make_loop
from mpitrain.training.control import ControlRequest
from mpitrain.training.devices import take_device, use_device
from mpitrain.training.display.progress import make_progress
from mpitrain.training.setup import open_setup

pytestmark = [pytest.mark.mpi, pytest.mark.gpu, pytest.mark.timeout(600)]

FASHION = Path(os.environ.get("MPITRAIN_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
STEPS = 30  # after many more, roundings have grown into other runs


@pytest.fixture(scope="module")
def gpus(world):
    sights = world.all_gather(discover("cuda", world.node))
    if not any(sight.gpus for sight in sights):  # test_device_training.py trains on what stands for one
        pytest.skip(f"no GPU: {sights[0].reason}")


def run(world, config, device):
    """Return the losses of the first steps and the accuracy after them."""
    setup = open_setup(config, world, device)
    losses = []
    loop = make_loop(
        config,
        setup,
        world,
        make_progress("none", None, config.run.epochs),
        control=lambda: ControlRequest(stop=len(losses) == STEPS - 1),
    )
    step = loop._train_step
    loop._train_step = lambda batches: losses.append(step(batches)) or losses[-1]
    loop.train()
    loop.run.data_parallel.free()
    return np.array(losses), loop.run.results.evaluations[-1].test["accuracy"]


CASES = {
    "digits convnet": (Data(source="digits"), Model(name="convnet")),
    "digits mlp": (Data(source="digits"), Model(name="mlp", widths=(64,), dropout=0.2)),
    "fashion lenet": (Data(source=f"fashion-mnist:{FASHION}"), Model(name="lenet")),
    "fashion mlp": (Data(source=f"fashion-mnist:{FASHION}"), Model(name="mlp")),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("all_reduce", ["auto", "ring"])
@pytest.mark.parametrize("case", CASES)
def test_losses_are_the_cpus(gpus, world, alone, case, all_reduce, precision):
    data, model = CASES[case]
    if "fashion" in case and not FASHION.is_dir():  # a package of 30 MB that tests do not fetch; digits are here
        pytest.skip(f"no Fashion-MNIST in {FASHION} (MPITRAIN_FASHION_MNIST names its folder)")
    config = Config(
        data=data,
        model=model,
        optimizer=Optimizer(lr=0.02, schedule="constant"),
        parallel=Parallel(all_reduce=all_reduce),
        compute=Compute(device="cuda", precision=precision),
        run=Run(epochs=1, progress="none"),
    )
    device = take_device(config, world)
    found = run(world, config, device)
    use_device(CPU, world)
    expected = run(alone, config, CPU)
    assert len(found[0]) == len(expected[0])
    np.testing.assert_array_equal(found[0][:, 0], expected[0][:, 0])  # samples
    np.testing.assert_allclose(found[0][:, 1], expected[0][:, 1], rtol=2e-3 if precision == "fp32" else 5e-2)
    assert found[1] == pytest.approx(expected[1], abs=0.02 if precision == "fp32" else 0.05)
