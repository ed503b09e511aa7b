"""--dry-run: what it says of memory is what a run takes."""

import dataclasses

import pytest

import mpitrain.training.outline as outline
from mpitrain.config import Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.training.build import make_loop
from mpitrain.training.display.progress_log import Silent
from mpitrain.training.hooks.evaluation import Evaluation
from mpitrain.training.outline import memory_of, try_passes
from mpitrain.training.setup import open_setup

pytestmark = pytest.mark.mpi

CONFIG = Config(data=Data(source="digits", batch_size=48), run=Run(epochs=1))
CASES = {
    "convnet": CONFIG,
    "mlp": dataclasses.replace(CONFIG, model=Model(name="mlp", widths=(32, 16), dropout=0.1)),
    "resnet8": dataclasses.replace(CONFIG, model=Model(name="resnet8")),
    "accumulate": dataclasses.replace(CONFIG, optimizer=Optimizer(name="adam", accumulate=2)),
    "reproducible": dataclasses.replace(CONFIG, parallel=Parallel(reproducible=8)),
    "too many microbatches": dataclasses.replace(CONFIG, optimizer=Optimizer(accumulate=10**6)),
    "too many shards": dataclasses.replace(CONFIG, parallel=Parallel(reproducible=1 << 20)),
}


def both(config, world):
    """Return the outline of a run, and a loop that has done that run."""
    setup = open_setup(config, world)
    passes = try_passes(setup, config, world.size)
    loop = make_loop(config, setup, world, Silent(None, 1))
    memory = memory_of(loop.run, passes)
    loop.train()
    loop.run.data_parallel.free()
    return passes, memory, loop


@pytest.mark.parametrize("case", CASES)
def test_memory_is_that_of_the_run(world, case):
    config = CASES[case]
    if config.parallel.reproducible and world.size not in (1, 2, 4, 8):
        pytest.skip("8 virtual shards are not divided among these ranks")
    passes, memory, loop = both(config, world)
    # the last virtual shard of a rank may hold no samples, and in the last batch of an evaluation other blocks fit
    assert passes.train_bytes == max(world.all_gather(loop.run.ctx.num_bytes))
    assert passes.test_bytes == pytest.approx(loop.hooks[Evaluation].evaluator._ctx.num_bytes, rel=0.15, abs=4096)
    arena = loop.run.setup.arena
    assert memory["weights"][0] == arena.values.nbytes
    assert sum(row.num_parameters for row in passes.layers) == arena.num_parameters
    slots = sum(slot.nbytes for slot in loop.run.optimizer.slots.values())
    assert slots / world.size * 0.9 < memory["optimizer"][0] <= slots


def test_a_long_batch_is_extrapolated(world, monkeypatch):
    exact = both(CASES["resnet8"], world)[0]
    monkeypatch.setattr(outline, "MEASURED_BYTES", 0)
    assert both(CASES["resnet8"], world)[0].train_bytes == pytest.approx(exact.train_bytes, rel=0.1)


def test_the_outline_leaves_no_trace(world):
    """The run after an outline is the run without one, to the bit."""
    first = both(CASES["convnet"], world)[2]
    setup = open_setup(CASES["convnet"], world)
    second = make_loop(CASES["convnet"], setup, world, Silent(None, 1))
    second.train()
    second.run.data_parallel.free()
    assert first.run.results.evaluations[0].test == second.run.results.evaluations[0].test
