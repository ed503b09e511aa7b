"""A NaN is traced to the rank, the layer, the step and the samples that it came from."""

import dataclasses

import numpy as np
import pytest

from mpitrain.config import Config, Data, Model, Optimizer, Run
from mpitrain.errors import AgreedError
from mpitrain.layers import GlobalAvgPool
from mpitrain.training.build import make_loop
from mpitrain.training.display.progress_log import Silent
from mpitrain.training.setup import open_setup

pytestmark = pytest.mark.mpi

CONFIG = Config(
    data=Data(batch_size=90),
    model=Model(name="resnet8"),
    optimizer=Optimizer(accumulate=2, momentum=0.0, schedule="constant"),
    run=Run(epochs=1),
)


def make(world, **optimizer):
    config = dataclasses.replace(CONFIG, optimizer=dataclasses.replace(CONFIG.optimizer, **optimizer))
    return make_loop(config, open_setup(config, world), world, Silent(None, 1))


def spoil(loop, step, change):
    """Let ``change(microbatches)`` spoil the step on the last rank."""
    healthy = loop._train_step

    def train_step(microbatches):
        if loop.run.step == step and loop.run.world.rank == loop.run.world.size - 1:
            change(microbatches)
        return healthy(microbatches)

    loop._train_step = train_step


def run(loop):
    try:
        loop.train()
    finally:
        loop.run.data_parallel.free()


def test_samples(world):
    loop, named = make(world), []

    def change(microbatches):
        microbatches[1].x[2, 0, 0] = np.nan
        named.append(microbatches[1].indices[2])

    spoil(loop, 3, change)
    with pytest.raises(AgreedError, match="the loss became nan in step 4: ") as error:
        run(loop)
    sample = world.all_gather(named)[-1][0]
    where = f"on rank {world.size - 1} the samples themselves hold nan for training sample {sample};"
    assert where in str(error.value)
    assert loop.run.step == 3


def test_a_layer(world):
    loop = make(world)
    layer = next(layer for layer in loop.run.setup.model.layers() if isinstance(layer, GlobalAvgPool))
    if world.rank == world.size - 1:
        healthy = layer.forward

        def forward(x, ctx):
            y = healthy(x, ctx)
            if ctx.training and ctx.step == 2:
                y[1:7] = np.inf
            return y

        layer.__class__ = type("Faulty", (GlobalAvgPool,), {"forward": lambda self, x, ctx: forward(x, ctx)})
    with pytest.raises(AgreedError, match="in step 3: ") as error:
        run(loop)
    assert f"on rank {world.size - 1} layer " in str(error.value)
    assert "(Faulty) gives inf for training samples " in str(error.value)
    assert " and 1 more; try" in str(error.value)
    assert "forward" not in vars(layer)


def test_a_gradient(world):
    loop = make(world)
    p = loop.run.setup.arena.parameters[3]
    healthy = p.written

    def written():
        if loop.run.step == 2 and world.rank == world.size - 1:
            p.grad.flat[0] = np.nan
        healthy()

    p.written = written
    with pytest.raises(AgreedError, match="the norm of the gradient became nan in step 3: ") as error:
        run(loop)
    assert f"on rank {world.size - 1} the gradient of {p.name} is nan" in str(error.value)


def test_a_step_that_is_skipped_changes_nothing(world):
    loop, seen = make(world, non_finite="skip"), {}
    spoil(loop, 3, lambda microbatches: microbatches[0].x.fill(np.inf))
    inner = loop._train_step

    def train_step(microbatches):
        arena = loop.run.setup.arena
        before = arena.values.copy(), arena.states.copy()
        sums = inner(microbatches)
        seen[loop.run.step] = (
            sums is None,
            all(np.array_equal(a, b) for a, b in zip(before, (arena.values, arena.states), strict=True)),
        )
        return sums

    loop._train_step = train_step
    run(loop)
    assert {step: flags for step, flags in seen.items() if any(flags)} == {4: (True, True)}
    assert loop.run.results.skipped == 1
    assert len(seen) == loop.run.step == len(loop.run.loader)
    assert np.isfinite(loop.run.results.evaluations[0].train["loss"])


def test_skipping_ends(world):
    loop = make(world, non_finite="skip")
    loop.run.setup.arena.values[loop.run.setup.arena.parameters[0].start] = np.nan
    with pytest.raises(AgreedError, match="in step 10, the 10th in a row: on rank 0 layer"):
        run(loop)
