"""Pipelines over NCCL, of ranks that have a GPU each: the bits of the same pipelines over MPI.

With --gpu=stand-in the devices stand for GPUs, and tests/fake_nccl.py for NCCL (scripts/test gpu --stand-in).
"""

import dataclasses

import numpy as np
import pytest

from mpitrain.comm.mesh import Mesh
from mpitrain.comm.nccl_channel import check_nccl, open_nccl_channel
from mpitrain.config import Compute, Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.device import CPU
from mpitrain.errors import AgreedError
from mpitrain.parallel.pipeline.forward import PipelineForward
from mpitrain.training.devices import use_device
from tests.device_pipelines import open_channel, program_for
from tests.fake_nccl import give_nccl
from tests.first_steps import first_steps
from tests.gpu.which import open_gpu_of_rank
from tests.kernels import cpu
from tests.pipeline_cases import CASES, TIED_STACK, differences, make_batches, make_runner, run_steps

pytestmark = [pytest.mark.mpi, pytest.mark.gpu, pytest.mark.timeout(600), cpu.needs_gxx]

SIZES = (5, 4, 0, 4, 1, 5)
STEPS = 4


@pytest.fixture
def gpu(request, world, monkeypatch):
    """The device of this rank, which is a GPU of its own."""
    which = request.config.option.gpu
    if which == "stand-in":
        give_nccl(monkeypatch, world)
    device = open_gpu_of_rank(world, Config(compute=Compute(device="cuda")), which)
    try:
        check_nccl(world, device, "--channel")
        yield device
    except AgreedError as error:
        pytest.skip(str(error))
    finally:
        use_device(CPU, world)


def open_nccl(world, device):
    pipe = Mesh(world, {"pipe": world.size})["pipe"]
    pipe.use_staging(world.group("data").staging)
    return open_nccl_channel(world, device, pipe)


def open_mpi(world, device):
    return open_channel(world, device, lambda device: world.group("data").staging)


def run(world, case, schedule, device, open_channel):
    """Return the result of two steps, and the outputs of an evaluation."""
    program, batches = program_for(world, case, schedule, SIZES), make_batches(case, SIZES)
    channel = open_channel(world, device)
    made, arena = make_runner(case, program, world.rank, channel, device=device)
    found = run_steps(made, arena, batches)
    outputs = PipelineForward(made.stages, channel).outputs(SIZES, lambda n: device.from_host(batches[n].x))
    outputs = {number: device.to_host(y).copy() for number, y in outputs}
    channel.free()
    return found, outputs


@pytest.mark.parametrize(
    ("schedule", "name"),
    [
        *(("1f1b", name) for name in ("mlp gelu", "tied", "resnet8")),
        *((schedule, "mlp gelu") for schedule in ("gpipe", "zb_h1", "interleaved:chunks=2", "greedy:memory=0.5")),
    ],
)
def test_the_bits_of_messages_by_mpi(gpu, world, schedule, name):
    case = TIED_STACK if name == "tied" else CASES[name]
    (found, outputs), (expected, wanted) = (run(world, case, schedule, gpu, how) for how in (open_nccl, open_mpi))
    wrong = [number for number in wanted if not np.array_equal(outputs[number], wanted[number])]
    everywhere = world.all_gather(differences(found, expected) + wrong)
    assert not any(everywhere), everywhere
    np.testing.assert_array_equal(found.totals, expected.totals)


@pytest.mark.parametrize("pipeline", ["1f1b", "zb_h1"])
@pytest.mark.parametrize("model", ["mlp", "convnet"])
def test_losses_are_those_of_messages_by_mpi(gpu, world, model, pipeline):
    """Training by the command's own parts: batches copied ahead, clipping, evaluation."""
    shape = {"widths": (32, 32, 32, 32), "dropout": 0.2} if model == "mlp" else {}
    config = Config(
        data=Data(source="digits"),
        model=Model(name=model, **shape),
        optimizer=Optimizer(lr=0.02, schedule="constant", clip_norm=0.5),
        parallel=Parallel(mesh=f"pipe={world.size}", pipeline=pipeline, channel="nccl"),
        run=Run(epochs=1, progress="none"),
    )
    found = first_steps(world, config, gpu, STEPS)
    parallel = dataclasses.replace(config.parallel, channel="mpi")
    expected = first_steps(world, dataclasses.replace(config, parallel=parallel), gpu, STEPS)
    np.testing.assert_array_equal(found[0][:, 0], expected[0][:, 0])  # samples
    np.testing.assert_allclose(found[0][:, 1], expected[0][:, 1], rtol=1e-5)  # other cuts fuse other layers
    assert found[1] == pytest.approx(expected[1], abs=0.02)
