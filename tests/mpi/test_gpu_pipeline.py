"""Pipelines of GPUs, shared where ranks outnumber them: the bits of one rank on its GPU, and to rounding the CPU's.

With --gpu=stand-in the devices stand for GPUs (scripts/test gpu --stand-in).
"""

import dataclasses
import time

import numpy as np
import pytest

from mpitrain.config import Compute, Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.device import CPU
from mpitrain.training.devices import use_device
from tests.device_pipelines import check, cut_small, open_channel, program_for
from tests.first_steps import first_steps
from tests.gpu.which import open_gpu_of_rank
from tests.kernels import cpu
from tests.pipeline_cases import CASES, TIED_STACK, make_batches, make_runner, run_steps

pytestmark = [pytest.mark.mpi, pytest.mark.gpu, pytest.mark.timeout(600), cpu.needs_gxx]

ALL = {**CASES, "tied": TIED_STACK}
SIZES = (5, 4, 0, 4, 1)
TOLERANCE = 1e-4  # of a GPU, which sums in another order
STEPS = 4


@pytest.fixture
def gpu(request, world):
    """The device of this rank, as training takes it."""
    yield open_gpu_of_rank(world, Config(compute=Compute(device="cuda")), request.config.option.gpu)
    use_device(CPU, world)


@pytest.mark.parametrize("pieces", ["short messages", "messages in pieces"])
@pytest.mark.parametrize(
    ("schedule", "name", "recompute"),
    [
        ("gpipe", "mlp gelu", "off"),
        ("1f1b", "mlp gelu", "off"),
        ("zb_h1", "mlp gelu", "off"),
        ("interleaved:chunks=2", "mlp gelu", "off"),
        ("1f1b", "tied", "off"),
        ("1f1b", "resnet8", "blocks"),
        ("zb_h1", "attention", "off"),
    ],
)
def test_gradients(gpu, world, alone, monkeypatch, schedule, name, recompute, pieces):
    if pieces == "messages in pieces":
        cut_small(monkeypatch)
    case, batches = ALL[name], make_batches(ALL[name], SIZES)
    program = program_for(world, case, schedule, SIZES)
    channel = open_channel(world, gpu, lambda device: world.group("data").staging)
    made, arena = make_runner(case, program, world.rank, channel, device=gpu, recompute=recompute)
    found = run_steps(made, arena, batches)
    check(world, alone, gpu, case, made, batches, found, TOLERANCE)
    channel.free()


def test_times_of_tasks(gpu, world):
    """Events of the GPU, on the host's clock."""
    case, sizes = CASES["mlp gelu"], (64,) * 4
    channel = open_channel(world, gpu, lambda device: world.group("data").staging)
    made, arena = make_runner(case, program_for(world, case, "1f1b", sizes), world.rank, channel, device=gpu)
    run_steps(made, arena, make_batches(case, sizes), steps=1)
    begin = time.perf_counter()
    run_steps(made, arena, make_batches(case, sizes), steps=1)
    times, error = made.times.on_host_clock()
    flat = np.array(times).reshape(-1)
    assert error < 0.1
    assert (np.diff(flat) >= 0).all(), "tasks overlap"
    assert begin - error <= flat[0] < flat[-1] <= time.perf_counter() + error
    assert 0 < made.times.idle < 1
    channel.free()


@pytest.mark.parametrize("pipeline", ["gpipe", "1f1b", "zb_h1"])
@pytest.mark.parametrize("model", ["mlp", "convnet"])
def test_losses_are_the_cpus(gpu, world, alone, model, pipeline):
    """Training by the command's own parts: stages cut by measured times, batches copied ahead, clipping, evaluation."""
    if world.size == 1:
        pytest.skip("a pipeline has at least two ranks")
    shape = {"widths": (32, 32, 32, 32), "dropout": 0.2} if model == "mlp" else {}
    config = Config(
        data=Data(source="digits"),
        model=Model(name=model, **shape),
        optimizer=Optimizer(lr=0.02, schedule="constant", clip_norm=0.5),
        parallel=Parallel(mesh=f"pipe={world.size}", pipeline=pipeline),
        run=Run(epochs=1, progress="none"),
    )
    found = first_steps(world, config, gpu, STEPS)
    use_device(CPU, world)
    expected = first_steps(alone, dataclasses.replace(config, parallel=Parallel()), CPU, STEPS)
    np.testing.assert_array_equal(found[0][:, 0], expected[0][:, 0])  # samples
    np.testing.assert_allclose(found[0][:, 1], expected[0][:, 1], rtol=2e-3)
    assert found[1] == pytest.approx(expected[1], abs=0.02)
