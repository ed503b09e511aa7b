"""Digits and Fashion-MNIST on GPUs, shared where ranks outnumber them: the losses are those of one rank on the CPU."""

import os
from pathlib import Path

import numpy as np
import pytest

from mpitrain.config import Compute, Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.device import CPU
from mpitrain.training.devices import use_device
from tests.first_steps import first_steps
from tests.gpu.which import open_gpu_of_rank

pytestmark = [pytest.mark.mpi, pytest.mark.gpu, pytest.mark.timeout(600)]

FASHION = Path(os.environ.get("MPITRAIN_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
STEPS = 30  # after many more, roundings have grown into other runs


CASES = {
    "digits convnet": (Data(source="digits"), Model(name="convnet")),
    "digits mlp": (Data(source="digits"), Model(name="mlp", widths=(64,), dropout=0.2)),
    "fashion lenet": (Data(source=f"fashion-mnist:{FASHION}"), Model(name="lenet")),
    "fashion mlp": (Data(source=f"fashion-mnist:{FASHION}"), Model(name="mlp")),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("all_reduce", ["auto", "ring"])
@pytest.mark.parametrize("case", CASES)
def test_losses_are_the_cpus(world, alone, case, all_reduce, precision):
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
    device = open_gpu_of_rank(world, config, "cuda")
    found = first_steps(world, config, device, STEPS)
    use_device(CPU, world)
    expected = first_steps(alone, config, CPU, STEPS)
    assert len(found[0]) == len(expected[0])
    np.testing.assert_array_equal(found[0][:, 0], expected[0][:, 0])  # samples
    np.testing.assert_allclose(found[0][:, 1], expected[0][:, 1], rtol=2e-3 if precision == "fp32" else 5e-2)
    assert found[1] == pytest.approx(expected[1], abs=0.02 if precision == "fp32" else 0.05)


@pytest.mark.parametrize("compress", ["bf16", "fp16", "int8", "sign", "topk:fraction=0.1", "powersgd"])
def test_compressed_losses_are_those_of_cpus(world, compress):
    data, model = CASES["digits mlp"]
    config = Config(
        data=data,
        model=model,
        optimizer=Optimizer(lr=0.02, schedule="constant"),
        parallel=Parallel(compress=compress),
        compute=Compute(device="cuda"),
        run=Run(epochs=1, progress="none"),
    )
    device = open_gpu_of_rank(world, config, "cuda")
    found = first_steps(world, config, device, STEPS)
    use_device(CPU, world)
    expected = first_steps(world, config, CPU, STEPS)
    np.testing.assert_allclose(found[0][:, 1], expected[0][:, 1], rtol=2e-2)
    assert found[1] == pytest.approx(expected[1], abs=0.03)
