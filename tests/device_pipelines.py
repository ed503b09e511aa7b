"""Pipelines whose stages are on a device, compared with one rank."""

import numpy as np
import pytest

from mpitrain.comm.channel import Channel
from mpitrain.comm.mesh import Mesh
from mpitrain.comm.schedule import segments
from mpitrain.comm.schedule.staging import HOST, HostStaging
from mpitrain.device import CPU
from mpitrain.pipelines import find, in_one_process, make_program, simulate
from tests.pipeline_cases import differences, make_runner, run_alone, run_steps


def cut_small(monkeypatch):
    """Cut messages of some hundred bytes as others of some megabytes."""
    monkeypatch.setattr(segments, "COST_BYTES", 512)
    monkeypatch.setattr(segments, "STEP_BYTES", 16)


def open_channel(world, device, staging=HostStaging):
    """Return the channel of a pipeline of all ranks, of which this one computes on ``device``."""
    pipe = Mesh(world, {"pipe": world.size})["pipe"]
    pipe.use_staging(HOST if device is CPU else staging(device))
    return Channel(pipe)


def program_for(world, case, schedule, sizes):
    """Return the program of a schedule for all ranks, or skip the test."""
    program = make_program(find(schedule), world.size, len(sizes))
    if program.num_stages > len(case.make().units()):  # e.g. 3 ranks with 2 chunks each: such a cut is refused
        pytest.skip("fewer layers than stages")
    return program


def check(world, alone, device, case, runner, batches, found, tolerance=1e-5):
    """Compare with one rank: with its bits, given the same stages, if all have a device, and with the CPU to rounding.

    A cut parts layers that are fused elsewhere, and a device sums the gradient of a fused bias in another order. Tied
    weights have the sum of each rank's sums, which one rank adds in another order.
    """
    program, tied = runner.stages.program, {one.name for one in runner.stages.tied}
    if all(world.all_gather(device is not CPU)):
        merged = in_one_process(program, simulate(program).begins)
        channel = open_channel(alone, device)
        expected = run_steps(*make_runner(case, merged, 0, channel, device=device), batches)
        channel.free()
        wrong = world.all_gather([name for name in differences(found, expected) if name not in tied])
        assert not any(wrong), wrong
        np.testing.assert_array_equal(world.sum(found.totals.astype(np.float64)), expected.totals)
    expected = run_alone(case, batches)
    for mine, whole in ((found.gradients, expected.gradients), (found.states, expected.states)):
        for name in mine:
            largest = max(1.0, np.abs(whole[name]).max())
            np.testing.assert_allclose(mine[name] / largest, whole[name] / largest, atol=tolerance, err_msg=name)
    np.testing.assert_allclose(world.sum(found.totals.astype(np.float64)), expected.totals, rtol=tolerance)
