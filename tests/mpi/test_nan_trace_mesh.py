"""A NaN on a mesh is traced to the stage, the rank, the layer and the samples that it came from; skipped steps."""

import numpy as np
import pytest

from mpitrain.config import Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.errors import AgreedError
from mpitrain.training.build import make_loop
from mpitrain.training.display.progress_log import Silent
from mpitrain.training.setup import open_setup

pytestmark = pytest.mark.mpi

STEP = 3  # counted from 0
SCHEDULES = ["1f1b", "zb_h1", "interleaved:chunks=2"]


@pytest.fixture(autouse=True)
def several_ranks(world):
    if world.size == 1:
        pytest.skip("one rank has no stages")


@pytest.fixture(params=["pipe", "data x pipe"])
def mesh(request, world):
    if request.param == "pipe":
        return f"pipe={world.size}"
    if world.size % 2:
        pytest.skip("an even number of ranks")
    return f"data={world.size // 2},pipe=2"


def make(world, mesh, pipeline="1f1b", non_finite="stop"):
    config = Config(
        data=Data(batch_size=90),
        model=Model(name="mlp", widths=(16,) * 9, activation="gelu", dropout=0.1),
        optimizer=Optimizer(accumulate=4, schedule="constant", non_finite=non_finite),
        run=Run(steps=8),
        parallel=Parallel(mesh=mesh, pipeline=pipeline),
    )
    return make_loop(config, open_setup(config, world), world, Silent(None, 1))


def spoil(loop, change):
    """Let ``change(microbatches)`` spoil one step on this rank."""
    healthy = loop._train_step

    def train_step(microbatches):
        if loop.run.step == STEP:
            change(microbatches)
        return healthy(microbatches)

    loop._train_step = train_step


def error_of(loop):
    with pytest.raises(AgreedError) as error:
        loop.train()
    loop.run.data_parallel.free()
    assert error.value.code == 1
    return str(error.value)


def stage_of(loop):
    """Return (whether this rank is the last one of those with the first stage, ... with the last one)."""
    stages, data = loop.run.setup.pipeline.stages, loop.run.setup.pipeline.data
    is_last = data.rank == data.size - 1
    return stages.has_first and is_last, stages.has_last and is_last


def name_of(world, is_it):
    """Return the name of the one rank where ``is_it``, on all ranks."""
    (name,) = [name for name in world.all_gather(world.own_name if is_it else None) if name]
    return name


def change_outputs(loop, change):
    """Let ``change(outputs, ctx)`` change what the last layer of this rank's last stage gives."""
    stage = max(loop.run.setup.pipeline.stages.own.items())[1]
    layer = [layer for _, layer in stage.running()][-1]
    healthy = layer.forward
    layer.__class__ = type("Faulty", (type(layer),), {"forward": lambda self, x, ctx: change(healthy(x, ctx), ctx)})


@pytest.mark.parametrize("pipeline", SCHEDULES)
def test_samples(world, mesh, pipeline):
    loop = make(world, mesh, pipeline)
    takes, named = stage_of(loop)[0], []
    if takes:

        def change(microbatches):
            microbatches[1].x[2] = np.nan
            named.append(int(microbatches[1].indices[2]))

        spoil(loop, change)
    said, name = error_of(loop), name_of(world, takes)
    (sample,) = [sample for samples in world.all_gather(named) for sample in samples]
    assert said.startswith(f"the loss became nan in step {STEP + 1}: on {name} the samples themselves hold nan for ")
    assert f"for training sample {sample};" in said


@pytest.mark.parametrize("pipeline", SCHEDULES)
def test_a_layer_of_the_last_stage(world, mesh, pipeline):
    loop = make(world, mesh, pipeline)
    is_last = stage_of(loop)[1]
    if is_last:

        def changed(y, ctx):
            if ctx.training and ctx.step == STEP:
                y[1:3] = np.inf
            return y

        change_outputs(loop, changed)
    said, name = error_of(loop), name_of(world, is_last)
    assert f" in step {STEP + 1}: on {name} layer " in said
    assert " (Faulty) gives inf for training samples " in said


def test_the_loss(world, mesh):
    loop = make(world, mesh)
    is_last, loss = stage_of(loop)[1], loop.run.setup.loss
    if is_last:
        healthy = loss.forward

        def forward(outputs, targets, ctx):
            weight, _, correct = healthy(outputs, targets, ctx)
            return weight, np.nan if ctx.step == STEP else 0.0, correct

        loss.forward = forward
    said, name = error_of(loop), name_of(world, is_last)
    assert said.startswith(f"the loss became nan in step {STEP + 1}: on {name} the loss is nan for training samples ")


@pytest.mark.parametrize("pipeline", SCHEDULES)
def test_the_gradient_of_the_loss(world, mesh, pipeline):
    """All gradients of the stages before are NaN as well, but their ranks are not to blame."""
    loop = make(world, mesh, pipeline)
    is_last, loss = stage_of(loop)[1], loop.run.setup.loss
    if is_last:
        healthy = loss.backward

        def backward(ctx):
            dy = healthy(ctx)
            return np.full_like(dy, np.nan) if ctx.step == STEP else dy

        loss.backward = backward
    said, name = error_of(loop), name_of(world, is_last)
    how = "the gradient of the loss is nan for training samples "
    assert said.startswith(f"the norm of the gradient became nan in step {STEP + 1}: on {name} {how}")


@pytest.mark.parametrize("pipeline", SCHEDULES)
def test_a_layer_that_passes_back_what_is_no_number(world, mesh, pipeline):
    """Its own gradients are finite; those of the layers before it, and of the stages before, are not."""
    loop = make(world, mesh, pipeline)
    is_last = stage_of(loop)[1]
    if is_last:
        stage = max(loop.run.setup.pipeline.stages.own.items())[1]
        layer = [layer for _, layer in stage.running()][-1]
        healthy = layer.backward

        def backward(self, dy, ctx):
            dx = healthy(dy, ctx)
            if ctx.step == STEP:
                dx[1:3] = np.nan
            return dx

        layer.__class__ = type("Faulty", (type(layer),), {"backward": backward})
    said, name = error_of(loop), name_of(world, is_last)
    assert f" in step {STEP + 1}: on {name} layer " in said
    assert " (Faulty) passes back nan for training samples " in said


@pytest.mark.parametrize("pipeline", SCHEDULES)
def test_a_skipped_step(world, alone, pipeline):
    """Skipping leaves all stages as they are, and the run goes on with the bits of one rank."""
    loops = make(world, f"pipe={world.size}", pipeline, "skip"), make(alone, "", non_finite="skip")
    weights = []
    for loop in loops:
        run, changed = loop.run, {}
        inner = loop._train_step

        def train_step(microbatches, run=run, inner=inner, changed=changed):
            before = run.setup.arena.values.copy()
            if run.step == STEP and microbatches[2].x.flags.writeable:
                microbatches[2].x[3] = np.nan
            sums = inner(microbatches)
            changed[run.step] = (sums is None, not np.array_equal(before, run.setup.arena.values))
            return sums

        loop._train_step = train_step
        loop.train()
        assert changed == {step: (False, True) if step != STEP + 1 else (True, False) for step in range(1, 9)}
        assert run.results.skipped == 1
        weights.append({p.name: p.data.copy() for p in run.setup.arena.parameters})
        run.data_parallel.free()
    staged, whole = weights
    names = [name for names in world.all_gather(list(staged)) for name in names]
    assert sorted(names) == sorted(whole)
    assert all(np.array_equal(staged[name], whole[name]) for name in staged)
