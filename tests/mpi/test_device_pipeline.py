"""Pipelines whose stages are on a device that stands for a GPU, on all ranks or on some."""

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.comm.schedule.staging import DirectStaging, HostStaging
from mpitrain.context import Context
from mpitrain.device import CPU
from mpitrain.parallel.pipeline.forward import PipelineForward
from tests.device_pipelines import check, cut_small, open_channel, program_for
from tests.gpu.arrays import Array
from tests.gpu.device import ShimDevice
from tests.gpu.lagging import LaggingDevice
from tests.kernels import cpu
from tests.pipeline_cases import (
    CASES,
    SCHEDULES,
    SEED,
    SHORT_ATTENTION,
    TIED_STACK,
    make_batches,
    make_runner,
    run_steps,
)

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]

SIZES = {"even": (4,) * 4, "few": (2, 0, 1), "ragged, with empty ones": (5, 4, 0, 4, 1)}
STAGINGS = {
    "in pieces": HostStaging,
    "in place": DirectStaging,
    "both": lambda device: DirectStaging(device, direct_bytes=200),
}


@pytest.fixture(params=STAGINGS)
def staging(request, monkeypatch):
    """Send messages of a device in pieces of some hundred bytes, in place, or by their length."""
    cut_small(monkeypatch)
    interface = property(lambda array: {**array.memory.__array_interface__, "version": 3})
    if request.param != "in pieces":
        monkeypatch.setattr(Array, "__cuda_array_interface__", interface, raising=False)
    return STAGINGS[request.param]


RUNS = [
    ("mlp gelu", "1f1b", "even", "off"),
    ("mlp gelu", "zb_h1", "ragged, with empty ones", "off"),
    ("mlp gelu", "interleaved:chunks=2", "ragged, with empty ones", "off"),
    ("mlp gelu", "greedy:memory=1", "even", "off"),
    ("resnet8", "1f1b", "ragged, with empty ones", "blocks"),
    ("mlp gelu", "zb_h1", "even", "stage"),
]


@pytest.mark.parametrize(("name", "schedule", "sizes", "recompute"), RUNS)
def test_gradients(world, alone, device, staging, name, schedule, sizes, recompute):
    case, sizes = CASES[name], SIZES[sizes]
    if recompute != "off" and staging is not HostStaging:
        pytest.skip("recomputation does not depend on the messages")
    program, batches = program_for(world, case, schedule, sizes), make_batches(case, sizes)
    channel = open_channel(world, device, staging)
    made, arena = make_runner(case, program, world.rank, channel, device=device, recompute=recompute)
    found = run_steps(made, arena, batches)
    check(world, alone, device, case, made, batches, found)
    channel.free()


MORE = [  # so that each schedule and each kind of model has run on a device
    ("mlp", "gpipe", "even", "off"),
    ("lenet", "zb_h1", "few", "off"),
    ("attention", "1f1b", "even", "off"),
    ("attention", "zb_h1", "ragged, with empty ones", "blocks"),
    ("mlp gelu", "breadth_first:chunks=2", "ragged, with empty ones", "blocks"),
    ("mlp gelu", "greedy:memory=0.5", "ragged, with empty ones", "off"),
    ("tied", "1f1b", "ragged, with empty ones", "off"),
    ("tied", "interleaved:chunks=2", "even", "off"),
]


def test_each_schedule_and_model_is_there():
    runs = [*RUNS, *MORE]
    assert {schedule for _, schedule, _, _ in runs} >= set(SCHEDULES)
    assert {name for name, _, _, _ in runs} == {*CASES, "tied"}
    assert {how for _, _, _, how in runs} == {"off", "blocks", "stage"}


@pytest.mark.parametrize(("name", "schedule", "sizes", "recompute"), MORE)
def test_more_gradients(world, alone, device, monkeypatch, name, schedule, sizes, recompute):
    if world.size == 1 or (world.size > 2 and name != "tied"):
        pytest.skip("it needs two ranks, and with more it does the same")
    cut_small(monkeypatch)
    case, sizes = {**CASES, "tied": TIED_STACK, "attention": SHORT_ATTENTION}[name], SIZES[sizes]
    program, batches = program_for(world, case, schedule, sizes), make_batches(case, sizes)
    channel = open_channel(world, device)
    made, arena = make_runner(case, program, world.rank, channel, device=device, recompute=recompute)
    assert bool(made.stages.tied) == (name == "tied")
    found = run_steps(made, arena, batches)
    check(world, alone, device, case, made, batches, found)
    channel.free()


@pytest.mark.parametrize("sizes", [(4, 4, 4, 1), (2, 0, 5, 1, 1)], ids=str)
@pytest.mark.parametrize("schedule", ["1f1b", "greedy:memory=1"])
@pytest.mark.parametrize("name", ["mlp gelu"])
def test_outputs(world, device, staging, name, schedule, sizes):
    case = CASES[name]
    program, channel = program_for(world, case, schedule, (1, 1, 1)), open_channel(world, device, staging)
    made, _ = make_runner(case, program, world.rank, channel, device=device)
    batches, model = make_batches(case, sizes), case.make()
    Arena(model, seed=SEED, device=device)
    ctx, forward = Context(training=False, device=device), PipelineForward(made.stages, channel)
    everywhere = all(world.all_gather(device is not CPU))
    for _ in range(2):
        for number, y in forward.outputs(sizes, lambda number: device.from_host(batches[number].x)):
            expected = device.to_host(model.forward(device.from_host(batches[number].x), ctx))
            tolerance = 0 if everywhere else 1e-5
            np.testing.assert_allclose(device.to_host(y), expected, rtol=tolerance, atol=tolerance)
    channel.free()


@pytest.mark.parametrize("schedule", ["1f1b", "zb_h1"])
@pytest.mark.parametrize("name", ["mlp gelu"])
def test_work_that_lags(world, alone, staging, name, schedule):
    """Everything is done as late as it may be: the bits of a device that does it at once."""
    case, sizes = CASES[name], (5, 5, 4, 0, 4, 1, 5, 5)
    program, batches = program_for(world, case, schedule, sizes), make_batches(case, sizes)
    device = LaggingDevice()
    channel = open_channel(world, device, staging)
    made, arena = make_runner(case, program, world.rank, channel, device=device)
    found = run_steps(made, arena, batches)
    check(world, alone, ShimDevice(), case, made, batches, found)
    channel.free()
