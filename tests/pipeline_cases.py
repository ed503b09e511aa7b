"""Models in stages, beside the same model on one rank that accumulates the same microbatches."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.data.loader import Batch
from mpitrain.device import CPU
from mpitrain.layers import (
    GELU,
    Dropout,
    Embedding,
    Flatten,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    Residual,
    Sequential,
    Sigmoid,
)
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.model_table import ModelTable
from mpitrain.parallel.pipeline.runner import PipelineRunner
from mpitrain.parallel.pipeline.stages import Stages

SCHEDULES = ("gpipe", "1f1b", "interleaved:chunks=2", "breadth_first:chunks=2", "zb_h1", "greedy:memory=0.5")
SEED = 5


class Case(NamedTuple):
    """A network: ``make()``, the shape and dtype of a sample, the number of its outputs, the shape of a target."""

    make: object
    shape: tuple
    dtype: type
    num_outputs: int
    target_shape: tuple = ()


def attention_stack(num_blocks=8):
    def block():
        mlp = Sequential(LayerNorm(8), Linear(8, 16), GELU(), Linear(16, 8), Dropout(0.2))
        return [Residual(Sequential(LayerNorm(8), MultiHeadAttention(8, 2))), Residual(mlp)]

    blocks = [layer for _ in range(num_blocks) for layer in block()]
    head = [LayerNorm(8), Flatten(), Linear(40, 5)]
    return models.prepare(Sequential(Embedding(11, 8), Dropout(0.1), *blocks, *head))


def built(name, shape, num_outputs):
    return Case(lambda: models.build(name, shape, num_outputs), shape, np.float32, num_outputs)


def tied_stack():
    """Six linear layers, of which the second, the fourth and the last share their weights."""
    linear = [Linear(9, 9) for _ in range(6)]
    linear[3].weight = linear[5].weight = linear[1].weight
    linear[1].weight.uses = 3
    return models.prepare(Sequential(*(layer for one in linear for layer in (one, Sigmoid()))))


CASES = {
    "mlp": built("mlp:widths=" + "+".join(["12"] * 9) + ",dropout=0.1", (7,), 4),
    "mlp gelu": built("mlp:widths=" + "+".join(["12"] * 9) + ",activation=gelu", (7,), 4),
    "lenet": built("lenet", (28, 28, 1), 10),
    "resnet8": built("resnet8", (12, 12, 3), 6),
    "attention": Case(attention_stack, (5,), np.int64, 5),
}


SHORT_ATTENTION = Case(lambda: attention_stack(1), (5,), np.int64, 5)
TIED_STACK = Case(tied_stack, (9,), np.float32, 9)


def gpt_of(text):
    return Case(lambda: models.build(f"gpt:depth=6,width=8,heads=2,{text}", (5,), 11), (5,), np.int64, 11, (5,))


TIED = {
    "linear": (TIED_STACK, "2.weight"),
    "gpt": (gpt_of("dropout=0.1"), "0.weight"),
}
"""Networks with a weight that several stages share, and its name."""


def make_batches(case, sizes, seed=1):
    """Return a microbatch of each size, one after the other in a global batch."""
    rng, first, batches = np.random.default_rng(seed), 0, []
    for n in sizes:
        x = rng.standard_normal((n, *case.shape)) if case.dtype is np.float32 else rng.integers(0, 11, (n, *case.shape))
        y = rng.integers(0, case.num_outputs, (n, *case.target_shape))
        batches.append(Batch(x.astype(case.dtype), y, first, np.arange(first, first + n)))
        first += n
    return batches


class Run:
    """Gradients, states and totals of steps, by name."""

    def __init__(self, arena):
        self.arena, host = arena, arena.device.to_host
        arena.get_header()
        self.gradients = {p.name: host(p.grad).copy() for p in arena.parameters}
        self.states = {s.name: host(s.data).copy() for s in arena.state_list}
        self.totals = arena.header[:3].copy()


def run_alone(case, batches, steps=2, device=CPU):
    """Return the result on one rank, which computes the microbatches one after the other."""
    model, loss, ctx = case.make(), SoftmaxCrossEntropy(), Context(seed=SEED, device=device)
    arena, batches = Arena(model, seed=SEED, device=device), on_device(batches, device)
    for step in range(steps):
        arena.begin_step(len(batches))
        for batch in batches:
            ctx.step, ctx.first = step, batch.first
            arena.add_totals(loss.forward(model.forward(batch.x, ctx), batch.y, ctx))
            model.backward(loss.backward(ctx), ctx)
        arena.end_backward()
        change_weights(arena)
    return Run(arena)


def change_weights(arena):
    """Let the next step have other numbers, so that who still has those of this one is found out."""
    for parameter in arena.parameters:
        parameter.data *= np.float32(0.75)


def on_device(batches, device):
    """Return the batches with arrays of a device."""
    return [replace(batch, x=device.from_host(batch.x), y=device.from_host(batch.y)) for batch in batches]


def make_runner(case, program, rank, channel, stops=None, device=CPU, recompute="off"):
    """Return the runner of one rank, and its arena."""
    model = case.make()
    units = model.units()
    if stops is None:  # uneven on purpose
        weights = np.arange(program.num_stages) % 3 + 1
        bounds = np.cumsum(weights) / weights.sum() * (len(units) - program.num_stages)
        stops = [round(bound) + stage + 1 for stage, bound in enumerate(bounds)]
    sample = np.zeros((1, *case.shape), case.dtype)
    stages = Stages(units, stops, program, rank, sample, device, recompute)
    arena = Arena(stages.model, seed=SEED, whole=ModelTable.of(model), device=device)
    ctx = Context(seed=SEED, device=device)
    return PipelineRunner(stages, channel, SoftmaxCrossEntropy(), ctx), arena


def run_steps(runner, arena, batches, steps=2):
    """Return the result of this rank's stages."""
    batches = on_device(batches, runner.stages.device)
    for step in range(steps):
        arena.begin_step(len(batches))
        runner.run(batches, step, arena.add_totals)
        arena.end_backward()
        change_weights(arena)
    return Run(arena)


def differences(found, expected):
    """Return the names of what differs from the whole model, which has more."""
    pairs = [(found.gradients, expected.gradients), (found.states, expected.states)]
    return [name for mine, whole in pairs for name in mine if not np.array_equal(mine[name], whole[name])]
