"""Times of tasks on a device: when it worked, not when the host has queued the work, and without a wait for it."""

import importlib
import json
import time

import numpy as np
import pytest

from mpitrain.device import CPU
from mpitrain.pipelines import find, in_one_process, make_program, simulate
from mpitrain.pipelines.trace import read_trace, replay
from mpitrain.profiles.events import process_of
from mpitrain.training import devices
from mpitrain.training.devices import use_device
from tests.device_pipelines import open_channel
from tests.gpu.lagging import LaggingDevice
from tests.kernels import cpu
from tests.pipeline_cases import CASES, make_batches, make_runner, on_device

pytestmark = [pytest.mark.mpi, cpu.needs_gxx]

OTHER_CLOCK = 1000.0  # seconds by which the device's clock differs


@pytest.mark.parametrize("schedule", ["1f1b", "zb_h1"])
def test_when_the_device_worked(alone, schedule):
    """Two stages on one rank, whose device does nothing before it is waited for."""
    device, case, sizes = LaggingDevice(), CASES["mlp gelu"], (4, 0, 3)
    device.compute.clock, device.compute.patience = lambda: time.perf_counter() + OTHER_CLOCK, 1000
    split = make_program(find(schedule), 2, len(sizes))
    merged, channel = in_one_process(split, simulate(split).begins), open_channel(alone, device)
    runner, arena = make_runner(case, merged, 0, channel, device=device)
    batches = on_device(make_batches(case, sizes), device)
    arena.begin_step(len(batches))
    runner.run(batches, 0, arena.add_totals)
    queued = time.perf_counter()
    assert device.compute.queue, "a task has waited for the device"
    assert runner.times.idle is None, "it is not known yet"
    times, error = runner.times.on_host_clock()
    now, flat = time.perf_counter(), np.array(times).reshape(-1)
    assert len(times) == len(runner.tasks)
    assert 0 <= error < now - queued
    assert (np.diff(flat) >= 0).all(), "tasks overlap"
    assert queued <= flat[0] + error
    assert flat[-1] <= now + error
    assert 0 <= runner.times.idle < 1
    channel.free()


def command_of(argv):
    return importlib.import_module(f"mpitrain.cli.{argv[0]}").parse(argv[1:], False)


@pytest.mark.parametrize("schedule", ["1f1b", "zb_h1"])
def test_a_profiled_run_has_a_trace(world, device, directory, monkeypatch, capsys, schedule):
    """Ranks with and without a device: the trace has the tasks of the schedule, at times that agree."""
    if world.size == 1:
        pytest.skip("a pipeline has at least two ranks")
    monkeypatch.setattr(devices, "open_device", lambda place, precision="fp32": device)
    if device is not CPU:
        device.compute.clock = lambda: time.perf_counter() + OTHER_CLOCK * (1 + world.rank)
    run = directory / "run"
    train = ["train", "--model=mlp:widths=16+16+16", "--steps=3", f"--mesh=pipe={world.size}", f"--pipeline={schedule}"]
    assert command_of([*train, "--accumulate=4", "--profile", f"--out={run}"]).run(world) == 0
    use_device(CPU, world)
    world.barrier()
    trace = read_trace(run / "pipeline.jsonl")
    recorded = replay(trace)
    assert recorded.difference(find(schedule)) == ""
    assert recorded.early <= trace.clock_error
    idle = json.loads((run / "report.json").read_text())["pipeline"]["idle_of_rank"]
    assert all(0 < share < 1 for share in idle)
    tasks = [event for event in json.loads((run / "trace.json").read_text()) if event["ph"] == "X"]
    names = {event["name"] for event in tasks if event["pid"] == process_of(0)}
    assert str(recorded.run.timeline.program.tasks[0][0]) in names
