"""Tokens divided among ranks: attention and whole models are those of one rank, in float64, on any number of ranks."""

from pathlib import Path

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.config import Config, Data, Model, Parallel, Run
from mpitrain.context import PAD, Context, Tokens
from mpitrain.device import CPU
from mpitrain.errors import UserError
from mpitrain.layers import MultiHeadAttention
from mpitrain.losses import DividedLoss, SoftmaxCrossEntropy
from mpitrain.parallel.context import ContextAttention, RingAttention, TokenParts, Ulysses, rules
from mpitrain.parallel.context.head_turn import HeadTurn
from mpitrain.parallel.context.heads import Heads
from mpitrain.parallel.context.outputs import GatherRows, GatherTokens
from mpitrain.parallel.moves.check import check_adjoint
from mpitrain.parallel.moves.exchange import pool_of
from mpitrain.training.build import make_loop
from mpitrain.training.devices import use_device
from mpitrain.training.display.progress import make_progress
from mpitrain.training.mesh.pipeline import recompute
from mpitrain.training.setup import open_setup
from tests.gpu.device import ShimDevice
from tests.kernels import cpu

pytestmark = pytest.mark.mpi


@pytest.fixture
def group(world):
    group = world.group("context")
    yield group
    pool_of(group).free()  # the next test may have other devices


def close(found, expected, what):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, err_msg=str(what))


@pytest.mark.parametrize("length", [9, 2, 16])
def test_adjoint(group, length):
    size = group.size
    parts = TokenParts.contiguous(length, size)
    heads = [[(r % 5, r % 5 + 2), (5, 6 + r % 2)] for r in range(size)]  # some on several ranks, some on none
    cases = [(HeadTurn(group, heads, 7, 3, parts.lengths), (2, length, 21)), (GatherRows(group), (3, 4))]
    cases += [(GatherTokens(group, one), (2, length, 3)) for one in (parts, TokenParts.zigzag(length, size))]
    for move, shape in cases:
        checked = check_adjoint(move, shape, group)
        assert checked.passed, (move.kind, shape, checked)


# T, H, Hk, causal, how: rotary, dropout, padding, packing, positions
ATTENTION = {
    "causal": (13, 8, 8, True, {}),
    "not causal": (13, 8, 8, False, {"lengths"}),
    "grouped": (16, 8, 2, True, {"rotary", "dropout"}),
    "grouped unevenly": (17, 9, 3, False, {"rotary", "dropout"}),
    "packed": (23, 8, 4, True, {"rotary", "packed", "dropout"}),
    "packed, not causal": (11, 8, 1, False, {"packed", "lengths"}),
    "one head for keys": (40, 8, 1, True, {"dropout", "lengths"}),
    "fewer tokens than ranks": (3, 8, 8, True, {"dropout"}),
    "one token": (1, 8, 8, True, {}),
}


def facts(rng, n, length, how):
    """Return the facts about rows that the attention layers are told."""
    lengths = rng.integers(0, length + 1, n) if "lengths" in how else None
    if "packed" not in how:
        return Tokens(lengths)
    segments = np.cumsum(rng.random((n, length)) < 0.2, axis=1)
    starts = np.diff(segments, axis=1, prepend=-1) > 0
    places = np.broadcast_to(np.arange(length), (n, length))
    return Tokens(lengths, segments, places - np.maximum.accumulate(starts * places, axis=1))


def run(layer, x, dy, tokens):
    """Return y, dx, and the parameters with their gradients, after two microbatches of samples 5 and on."""
    arena, ctx = Arena(layer, seed=3, dtype=np.float64), Context(dtype=np.float64, seed=7)
    arena.begin_step(2)
    ctx.step, ctx.first, ctx.tokens = 4, 5, tokens
    for _ in range(2):
        y = np.array(layer.forward(x.copy(), ctx))
        dx = np.array(layer.backward(dy.copy(), ctx))
    return y, dx, arena.parameters


@pytest.mark.parametrize("method", ["ulysses", "ring", "ring of neighbors"])
@pytest.mark.parametrize("name", ATTENTION)
def test_attention_of_one_rank(group, name, method):
    length, heads, kv_heads, causal, how = ATTENTION[name]
    if method == "ulysses" and heads < group.size:
        pytest.skip("fewer heads than ranks")
    options = {"rotary": 100.0 if "rotary" in how else None, "dropout": 0.3 if "dropout" in how else 0.0}

    def make():
        made = MultiHeadAttention(heads * 4, heads, causal, num_kv_heads=kv_heads, **options)
        made.number = 2
        return made

    rng = np.random.default_rng([length, heads])
    x, dy = rng.standard_normal((2, 3, length, heads * 4))
    tokens = facts(rng, 3, length, how)
    expected = run(make(), x, dy, tokens)
    order = TokenParts.zigzag if method == "ring" and causal else TokenParts.contiguous
    parts = order(length, group.size)
    whole = make()
    core = (Ulysses if method == "ulysses" else RingAttention)(Heads.of(whole), group, parts)
    own_x, own_dy = (parts.take(array, group.rank) for array in (x, dy))
    y, dx, parameters = run(ContextAttention(whole, core), own_x, own_dy, tokens)
    close(y, parts.take(expected[0], group.rank), "y")
    close(dx, parts.take(expected[1], group.rank), "dx")
    assert [p.name for p in parameters] == [p.name for p in expected[2]]
    for p, one in zip(parameters, expected[2], strict=True):
        close(group.sum(p.grad.copy()), one.grad, p.name)


def texts(rng, n, length, vocabulary, how):
    """Return rows of tokens, where ``how`` says so padded at the end, or packed: 1 ends a sequence."""
    x = rng.integers(2, vocabulary, (n, length))
    if "packed" in how:
        x[rng.random((n, length)) < 0.15] = 1
    if "padded" in how:
        x[np.arange(length) >= rng.integers(1, length + 1, n)[:, None]] = PAD
    return x


# model, T, how, targets for each token
MODELS = {
    "gpt": ("gpt:width=24,heads=6,depth=2,dropout=0.2", 13, {"padded"}, True),
    "gpt, packed": ("gpt:width=32,heads=8,depth=1,dropout=0.1,end_of_text=1", 18, {"packed", "padded"}, True),
    "llama": ("llama:width=32,heads=8,kv_heads=2,hidden=20,depth=2,end_of_text=1", 11, {"packed"}, True),
    "bert of words": ("bert:width=24,heads=6,hidden=8,depth=2,dropout=0.2", 9, {"padded"}, True),
    "bert of classes": ("bert:width=24,heads=6,hidden=8,depth=1,dropout=0.2,vocabulary=15", 9, {"padded"}, False),
    "vit": ("vit:patch=4,width=24,heads=6,hidden=8,depth=2,dropout=0.2", 0, {}, False),
}


def batch(rng, model, length, how, per_token):
    """Return x, targets, the shape of a sample and the number of outputs."""
    if not length:
        return rng.standard_normal((3, 8, 12, 1)), rng.integers(0, 5, 3), (8, 12, 1), 5
    vocabulary = 15
    x = texts(rng, 3, length, vocabulary, how)
    if not per_token:
        return x, rng.integers(0, 4, 3), (length,), 4
    return x, np.where(rng.random(x.shape) < 0.2, -100, rng.integers(0, vocabulary, x.shape)), (length,), vocabulary


def step(model, loss, x, targets):
    """Return the sums of the loss, and the parameters with their gradients."""
    arena, ctx = Arena(model, seed=3, dtype=np.float64), Context(dtype=np.float64, seed=7)
    arena.begin_step()
    ctx.step, ctx.first = 4, 5
    totals = loss.forward(model.forward(x, ctx), targets, ctx)
    model.backward(loss.backward(ctx), ctx)
    return np.array(totals), arena.parameters


@pytest.mark.parametrize("method", ["ulysses", "ring", "auto"])
@pytest.mark.parametrize("name", MODELS)
def test_models_of_one_rank(group, name, method):
    text, length, how, per_token = MODELS[name]
    rng = np.random.default_rng(len(name))
    x, targets, shape, outputs = batch(rng, text, length, how, per_token)
    whole = models.build(text, shape, outputs)
    if method == "ulysses" and group.size > 6:
        with pytest.raises(UserError, match="the nearest number is --mesh context="):
            rules.check(whole, 9, shape, method)
        return
    rules.check(whole, group.size, shape, method)
    expected, of_whole = step(whole, SoftmaxCrossEntropy(), x, targets)
    division = rules.divide(models.build(text, shape, outputs), group, shape, method)
    totals, parameters = step(division.model, DividedLoss(SoftmaxCrossEntropy(), division.targets), x, targets)
    close(group.sum(totals), expected, "loss")
    assert [p.name for p in parameters] == [p.name for p in of_whole]
    for p, one in zip(parameters, of_whole, strict=True):
        close(group.sum(p.grad.copy()), one.grad, p.name)
    still = Context(training=False, dtype=np.float64)
    joined = division.outputs.forward(division.model.forward(x, still), still)
    close(joined, whole.forward(x, Context(training=False, dtype=np.float64)), "outputs")


@pytest.mark.parametrize("method", ["ulysses", "ring"])
def test_blocks_that_are_computed_again(group, method):
    """The same bits, with two microbatches in flight and gradients that are put off."""
    text, length, how, _ = MODELS["gpt"]
    x, targets, shape, outputs = batch(np.random.default_rng(1), text, length, how, True)
    found = []
    for again in (False, True):
        division = rules.divide(models.build(text, shape, outputs), group, shape, "ring" if group.size > 6 else method)
        model = recompute(division.model, "blocks") if again else division.model
        arena, loss = Arena(model, seed=3, dtype=np.float64), SoftmaxCrossEntropy()
        arena.begin_step(2)
        first = Context(dtype=np.float64, seed=7)
        flights = [(first, loss), (Context(dtype=np.float64, seed=7, share=first), SoftmaxCrossEntropy())]
        for number, (ctx, one) in enumerate(flights):
            ctx.first = 3 * number
            one.forward(model.forward(x, ctx), division.targets(targets), ctx)
        for ctx, one in flights:
            ctx.later = []
            model.backward(one.backward(ctx), ctx)
            for put in ctx.later:
                put()
            ctx.later = None
        found.append(arena.gradients.copy())
    assert found[0].any()
    np.testing.assert_array_equal(*found)


@cpu.needs_gxx
@pytest.mark.parametrize("method", ["ulysses", "ring"])
def test_on_a_device(world, device, method):
    found, expected = (on_device(world, one, method) for one in (device, CPU))
    for mine, one in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, one, rtol=1e-4, atol=1e-5)


@cpu.needs_gxx
@pytest.mark.parametrize(("precision", "tolerance"), [("tf32", 4e-3), ("bf16", 3e-2)])
@pytest.mark.parametrize("method", ["ulysses", "ring"])
def test_precisions_of_a_device(world, method, precision, tolerance):
    """By the fused kernels, whose results over blocks of keys are merged."""
    gpu = ShimDevice()
    gpu.precision = precision
    found, expected = (on_device(world, one, method) for one in (gpu, CPU))
    assert gpu.launches["attention_mma_dkdv"]
    assert not gpu.launches["attention_softmax"]
    for mine, one in zip(found, expected, strict=True):
        assert np.linalg.norm(mine - one) <= tolerance * np.linalg.norm(one)


def on_device(world, device, method):
    """Return the sums of the loss and the gradients of a gpt on a device."""
    use_device(device, world)
    try:
        rng, shape = np.random.default_rng(3), (4 * world.size + 5,)
        x = texts(rng, 2, *shape, 15, {"packed"})
        model = models.build("gpt:width=32,heads=8,depth=1,dropout=0.1,end_of_text=1", shape, 15)
        division = rules.divide(model, world.group("data"), shape, method)
        arena, ctx = Arena(division.model, seed=3, device=device), Context(seed=7, device=device)
        arena.begin_step()
        loss = DividedLoss(SoftmaxCrossEntropy(), division.targets)
        x, targets = device.from_host(x), device.from_host(np.roll(x, -1, axis=1))
        totals = loss.forward(division.model.forward(x, ctx), targets, ctx)
        division.model.backward(loss.backward(ctx), ctx)
        return np.array(device.to_host(totals)), device.to_host(arena.gradients).copy()
    finally:
        pool_of(world.group("data")).free()
        use_device(CPU, world)


@cpu.needs_gxx
def test_training_on_a_device(world, device):
    """The groups of a mesh send arrays of devices; shapes of stages are found on the host before."""
    if world.size > 3 and not all(world.all_gather(device is not CPU)):
        pytest.skip("takes long where ranks share cores")
    mesh = "pipe=2,context=2" if world.size == 4 else f"context={world.size}"
    found, expected = (trained_on(world, one, mesh) for one in (device, CPU))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def trained_on(world, device, mesh):
    """Return the weights of a gpt after some steps on a device."""
    use_device(device, world)
    try:
        config = Config(
            data=Data(source=f"text:{Path(__file__).parents[2] / 'CITATION.cff'},window=9", batch_size=8),
            model=Model(name="gpt:depth=2,width=16,heads=4,dropout=0.1"),
            parallel=Parallel(mesh=mesh, context="ring" if world.size > 1 else "auto", stages="3" * ("pipe" in mesh)),
            run=Run(steps=2, progress="none"),
        )
        setup = open_setup(config, world, device)
        loop = make_loop(config, setup, world, make_progress("none", None, 1))
        loop.train()
        return device.to_host(setup.arena.values).copy()
    finally:
        pool_of(world.group("context")).free()
        use_device(CPU, world)
