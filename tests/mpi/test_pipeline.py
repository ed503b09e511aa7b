"""Pipelines over ranks: gradients have the bits of one rank that accumulates the same microbatches."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.comm.channel import Channel
from mpitrain.comm.mesh import Mesh
from mpitrain.context import Context
from mpitrain.layers import Flatten, Linear, Sequential
from mpitrain.parallel.pipeline.forward import PipelineForward
from mpitrain.pipelines import find, in_one_process, make_program, simulate
from tests.pipeline_cases import (
    CASES,
    SCHEDULES,
    SEED,
    TIED,
    Case,
    differences,
    make_batches,
    make_runner,
    run_alone,
    run_steps,
)

pytestmark = pytest.mark.mpi

SIZES = {
    "even": (4,) * 8,
    "ragged, with empty ones": (5, 5, 4, 0, 4, 1),
    "fewer than ranks": (3,),
    "two": (2, 6),
}


@pytest.fixture(scope="module")
def channel(world):
    return Channel(Mesh(world, {"pipe": world.size})["pipe"])


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", CASES)
def test_bits_of_one_rank(world, channel, name, schedule, sizes):
    case, sizes = CASES[name], SIZES[sizes]
    program = make_program(find(schedule), world.size, len(sizes))
    if program.num_stages > len(case.make().units()):
        pytest.skip("fewer layers than stages")
    batches = make_batches(case, sizes)
    expected = run_alone(case, batches)
    runner, arena = make_runner(case, program, world.rank, channel)
    found = run_steps(runner, arena, batches)
    wrong = world.all_gather(differences(found, expected))
    assert not any(wrong), wrong
    totals = world.sum(found.totals.astype(np.float64))
    assert np.array_equal(totals, expected.totals)
    names = [name for names in world.all_gather([p.name for p in arena.parameters]) for name in names]
    assert sorted(names) == sorted(expected.gradients)


@pytest.mark.parametrize("size", [5, 8])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", CASES)
def test_bits_of_more_ranks_in_one_process(world, alone, name, schedule, size):
    """All stages run here, in the order of their tasks in time."""
    if world.size > 1:
        pytest.skip("one rank is enough")
    case, sizes = CASES[name], (3, 2, 0, 4, 1, 2)
    program = make_program(find(schedule), size, len(sizes))
    if program.num_stages > len(case.make().units()):
        pytest.skip("fewer layers than stages")
    batches = make_batches(case, sizes)
    merged = in_one_process(program, simulate(program).begins)
    found = run_steps(*make_runner(case, merged, 0, Channel(alone.group("pipe"))), batches)
    expected = run_alone(case, batches)
    assert not differences(found, expected)
    assert np.array_equal(found.totals, expected.totals)
    assert found.gradients.keys() == expected.gradients.keys()


@pytest.mark.parametrize("sizes", [(4, 4, 4, 1), (3,), (), (2, 0, 5, 1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("schedule", ["1f1b", "interleaved:chunks=2", "greedy:memory=1"])
@pytest.mark.parametrize("name", CASES)
def test_forward(world, channel, name, schedule, sizes):
    """Outputs have the bits of one rank, batch by batch."""
    case = CASES[name]
    program = make_program(find(schedule), world.size, 3)
    if program.num_stages > len(case.make().units()):
        pytest.skip("fewer layers than stages")
    runner, _ = make_runner(case, program, world.rank, channel)
    batches, model = make_batches(case, sizes), case.make()
    Arena(model, seed=SEED)
    ctx = Context(training=False)
    forward = PipelineForward(runner.stages, channel)
    for _ in range(2):
        found = [(number, y.copy()) for number, y in forward.outputs(sizes, lambda number: batches[number].x)]
        if runner.stages.has_last:
            assert [number for number, _ in found] == list(range(len(sizes)))
            for number, y in found:
                assert np.array_equal(y, model.forward(batches[number].x, ctx))
        else:
            assert not found
    assert sum(world.all_gather(runner.stages.has_last)) == 1


def flat():
    """A middle stage whose outputs lie where it has received its inputs; messages are too long to be sent at once."""
    return models.prepare(Sequential(Linear(64, 64), Flatten(), Linear(64 * 64, 3), Linear(3, 3)))


def test_outputs_of_a_stage_that_computes_nothing(world, channel):
    if world.size != 3:
        pytest.skip("three stages")
    case, sizes = Case(flat, (64, 64), np.float32, 3), (16,) * 24
    program = make_program(find("1f1b"), 3, 3)
    runner, _ = make_runner(case, program, world.rank, channel, stops=(1, 2, 4))
    batches, model = make_batches(case, sizes), case.make()
    Arena(model, seed=SEED)
    forward, ctx = PipelineForward(runner.stages, channel), Context(training=False)
    for number, y in forward.outputs(sizes, lambda number: batches[number].x):
        assert np.array_equal(y, model.forward(batches[number].x, ctx)), number


@pytest.mark.parametrize("sizes", [(4, 4, 4, 1), (3,)], ids=str)
@pytest.mark.parametrize("name", TIED)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_weights_that_stages_share(world, channel, name, schedule, sizes):
    """Every copy has the gradient of the whole, to rounding; the other gradients have the bits of one rank."""
    program = make_program(find(schedule), world.size, len(sizes))
    case, shared = TIED[name]
    batches = make_batches(case, sizes)
    expected = run_alone(case, batches)
    runner, arena = make_runner(case, program, world.rank, channel)
    ready = []
    arena.on_ready = lambda p: ready.append(p.name)
    found = run_steps(runner, arena, batches)
    assert sorted(ready) == sorted(2 * list(found.gradients))
    wrong = set(differences(found, expected)) - {shared}
    assert not any(world.all_gather(wrong))
    if shared in found.gradients:
        np.testing.assert_allclose(found.gradients[shared], expected.gradients[shared], rtol=1e-5, atol=1e-6)
    holders = [one for one in world.all_gather(found.gradients.get(shared)) if one is not None]
    assert all(np.array_equal(one, holders[0]) for one in holders)
    assert sum(world.all_gather(len(runner.stages.copies))) == len(holders) - 1
