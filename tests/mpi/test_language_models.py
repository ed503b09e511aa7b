"""Language models on meshes: the gradients and weights of one rank, with a large head or a small one."""

from functools import partial

import numpy as np
import pytest

from mpitrain import head_loss, models
from mpitrain.arena import Arena
from mpitrain.comm.channel import Channel
from mpitrain.comm.mesh import Mesh
from mpitrain.context import PAD, Context
from mpitrain.head_loss import HeadLoss, split_head
from mpitrain.layers import GELU, LayerNorm, Linear, MultiHeadAttention, PreNormBlock, Sequential, TokenEmbedding
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.metrics import make_metrics
from mpitrain.optim import AdamW
from mpitrain.parallel.data import DataParallel
from mpitrain.parallel.pipeline.forward import PipelineForward
from mpitrain.parallel.roles import Roles
from mpitrain.pipelines import find, make_program
from mpitrain.training.scoring.scores import Classification
from tests.pipeline_cases import (
    SCHEDULES,
    SEED,
    Case,
    Run,
    change_weights,
    differences,
    make_batches,
    make_runner,
    run_steps,
)

pytestmark = pytest.mark.mpi

T, V, STEPS = 5, 11, 3


@pytest.fixture(params=["whole", "chunks"])
def fused(request, monkeypatch):
    """Run with the head and the loss as one, in chunks of 4 rows, and with both apart."""
    monkeypatch.setattr(head_loss, "LARGE", 8 if request.param == "chunks" else 1000)
    monkeypatch.setattr(head_loss, "LEAST_ROWS", 4)
    monkeypatch.setattr(head_loss, "CHUNK_BYTES", 0)
    return request.param == "chunks"


def separate_head(causal=True, end_of_text=None):
    def block():
        mlp = Sequential(Linear(8, 16), GELU(), Linear(16, 8))
        return PreNormBlock(LayerNorm(8), MultiHeadAttention(8, 2, causal=causal), LayerNorm(8), mlp)

    tokens = TokenEmbedding(V, 8, num_positions=T, causal=causal, end_of_text=end_of_text)
    return models.prepare(Sequential(tokens, *(block() for _ in range(6)), LayerNorm(8), Linear(8, V)))


SEPARATE = {
    "rows": Case(separate_head, (T,), np.int64, V, (T,)),
    "packed rows": Case(partial(separate_head, end_of_text=3), (T,), np.int64, V, (T,)),
    "padded rows": Case(partial(separate_head, causal=False), (T,), np.int64, V, (T,)),
}
GPT = "gpt:depth=3,width=8,heads=2,dropout=0.1,end_of_text=3"
TIED = Case(lambda: models.build(GPT, (T,), V), (T,), np.int64, V, (T,))


def train_alone(case, batches, steps, *, lr):
    """Return the arena after steps of one rank, which accumulates its batches, and the losses."""
    model, ctx, losses = case.make(), Context(seed=SEED), []
    arena = Arena(model, seed=SEED)
    optimizer = AdamW(arena)
    body, loss = split_head(model, SoftmaxCrossEntropy())
    for step in range(steps):
        arena.begin_step(len(batches))
        for batch in batches:
            ctx.step, ctx.first = step, batch.first
            arena.add_totals(loss.forward(body.forward(batch.x, ctx), batch.y, ctx))
            body.backward(loss.backward(ctx), ctx)
        arena.end_backward()
        losses.append(arena.header[1] / arena.header[0])
        if lr:
            optimizer.step(lr, 1 / float(arena.header[0]))
        else:
            change_weights(arena)
    return arena, losses


@pytest.mark.parametrize("name", SEPARATE)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_bits_of_one_rank(world, fused, schedule, name):
    case = SEPARATE[name]
    channel, sizes = Channel(Mesh(world, {"pipe": world.size})["pipe"]), (5, 5, 4, 0, 4, 1)
    program = make_program(find(schedule), world.size, len(sizes))
    if program.num_stages > len(case.make().units()):
        pytest.skip("fewer layers than stages")
    batches = make_batches(case, sizes)
    if name == "padded rows":
        for batch in batches:
            batch.x[1::2, 3:], batch.y[1::2, 3:] = PAD, -100
    runner, arena = make_runner(case, program, world.rank, channel)
    found = run_steps(runner, arena, batches)
    assert isinstance(split_head(case.make(), SoftmaxCrossEntropy())[1], HeadLoss) == fused
    expected = Run(train_alone(case, batches, 2, lr=0)[0])
    assert not any(world.all_gather(differences(found, expected)))
    totals = world.sum(found.totals.astype(np.float64))
    assert np.array_equal(totals, expected.totals)


@pytest.mark.parametrize("schedule", ["1f1b", "zb_h1"])
def test_data_and_pipe_are_one_rank(world, fused, schedule):
    pipe = 2 if world.size % 2 == 0 else 1
    if pipe == 1:
        pytest.skip("two stages")
    mesh = Mesh(world, {"data": world.size // pipe, "pipe": pipe})
    data, channel, sizes = mesh["data"], Channel(mesh["pipe"]), (3, 3, 2, 3) * (world.size // pipe)
    batches = make_batches(TIED, sizes)
    for number, batch in enumerate(batches):
        batch.y[:, -1 - number % 3 :] = -100  # ranks have different numbers of targets
    own = batches[data.rank :: data.size]
    program = make_program(find(schedule), pipe, len(own))
    runner, arena = make_runner(TIED, program, mesh["pipe"].rank, channel)
    stages, losses = runner.stages, []
    parallel = DataParallel(stages.model, arena, data, roles=Roles(mesh), copies=stages.copies, shard="none")
    optimizer = AdamW(arena)
    for step in range(STEPS):
        parallel.begin(len(own))
        runner.run(own, step, arena.add_totals)
        parallel.finish()
        losses.append(arena.header[1] / arena.header[0])
        parallel.update(optimizer, 0.01, 1 / float(arena.header[0]))
    expected, expected_losses = train_alone(TIED, batches, STEPS, lr=0.01)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    values = expected.named_tensors()
    for p in arena.parameters:
        np.testing.assert_allclose(p.data, values[p.name], rtol=1e-3, atol=1e-4, err_msg=p.name)


def test_evaluation_in_stages(world, fused):
    channel = Channel(Mesh(world, {"pipe": world.size})["pipe"])
    runner, _ = make_runner(TIED, make_program(find("gpipe"), world.size, 1), world.rank, channel)
    forward = PipelineForward(runner.stages, channel)
    batches, ctx = make_batches(TIED, (3, 2, 4)), Context(training=False)
    scoring, last = Classification(SoftmaxCrossEntropy(), make_metrics("", V, "classification")), None
    if forward.last is not None:
        last, scoring = scoring.split(forward.last)
    sums = np.zeros(3)
    for number, y in forward.outputs([3, 2, 4], lambda number: batches[number].x, last):
        sums += scoring.sums(y, batches[number].y, ctx)
        assert y.shape[-1] == (8 if fused else V)
    model, loss = TIED.make(), SoftmaxCrossEntropy()
    Arena(model, seed=SEED)
    expected = sum(np.array(loss.evaluate(model.forward(b.x, ctx), b.y, ctx)) for b in batches)
    np.testing.assert_allclose(world.sum(sums), expected, rtol=1e-5)
