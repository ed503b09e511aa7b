"""``Recompute``: a second forward instead of kept results, and the same bits."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.layers import (
    BatchNorm2d,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    Recompute,
    ReLU,
    Residual,
    Sequential,
    Tanh,
)
from tests.gradients import check_layer
from tests.microbatches import ORDERS, PLAIN, Microbatches, assert_same_bits


def perceptron(around, size=6):
    """Three blocks of which each goes through ``around``."""
    blocks = [Residual(Sequential(Linear(size, 24), ReLU(), Dropout(0.3), Linear(24, size))) for _ in range(3)]
    return models.prepare(Sequential(Linear(size, size), *map(around, blocks), Linear(size, 3)))


def growing(around):
    """Every block asks for more memory than the one before it, and its arrays have other shapes."""
    blocks = [Sequential(Linear(6 * i, 12 * i), Tanh(), Dropout(0.2), Linear(12 * i, 6 * i + 6)) for i in range(1, 4)]
    return models.prepare(Sequential(*map(around, blocks)))


def normalized(around):
    blocks = [Sequential(Conv2d(3, 3, 3, padding=1), BatchNorm2d(3), ReLU()) for _ in range(3)]
    return models.prepare(Sequential(*map(around, blocks), Flatten(), Linear(3 * 20, 4)))


def tokens(around):
    first = Sequential(Embedding(7, 6), Dropout(0.1))
    blocks = [Residual(Sequential(LayerNorm(6), MultiHeadAttention(6, 3, causal=True))) for _ in range(2)]
    return models.prepare(Sequential(around(first), *map(around, blocks), Linear(6, 7)))


def whole(around):
    return around(models.build("resnet8", (4, 5, 3), 3))


def two_levels(around):
    pairs = [
        Sequential(*(around(Residual(Sequential(Linear(6, 9), Tanh(), Linear(9, 6)))) for _ in "ab")) for _ in "ab"
    ]
    return Sequential(*map(around, pairs))


def alone(around):
    return models.prepare(Sequential(*map(around, (Linear(6, 5), Dropout(0.4), Tanh(), Flatten(), Linear(5, 2)))))


MODELS = {
    "perceptron": (perceptron, (6,)),
    "growing": (growing, (6,)),
    "normalized": (normalized, (4, 5, 3)),
    "tokens": (tokens, "ids"),
    "whole": (whole, (4, 5, 3)),
    "two levels": (two_levels, (6,)),
    "alone": (alone, (6,)),
}


def same(layer):
    return layer


def samples(shape, sizes=(4, 0, 3)):
    rng = np.random.default_rng(2)
    if shape == "ids":
        return [rng.integers(0, 7, (n, 5)) for n in sizes]
    return [rng.standard_normal((n, *shape)).astype(np.float32) for n in sizes]


@pytest.mark.parametrize("order", [PLAIN, *ORDERS])
@pytest.mark.parametrize("name", MODELS)
def test_same_bits(name, order):
    """Also of running statistics, which would differ if they were updated twice, and with the same dropout masks."""
    make, shape = MODELS[name]
    expected = Microbatches(lambda: [make(same)], samples(shape)).run(PLAIN)
    run = Microbatches(lambda: [make(Recompute)], samples(shape))
    assert_same_bits(run.run(order, steps=2), expected, f"{name}, {order}")


@pytest.mark.parametrize("name", ["perceptron", "tokens", "two levels"])
def test_gradients(name):
    make, shape = MODELS[name]
    check_layer(make(Recompute), samples(shape)[0], tolerance=1e-5)


def test_evaluation_is_that_of_the_layer():
    models_of = [normalized(around) for around in (same, Recompute)]
    x = samples((4, 5, 3))[0]
    for model in models_of:
        Arena(model, seed=1)
    found = [model.forward(x, Context(training=False)) for model in models_of]
    np.testing.assert_array_equal(*found)


def test_it_does_not_show_in_names():
    plain, recomputed = whole(same), whole(Recompute)
    for names in ("named_parameters", "named_states", "children", "running"):
        assert [name for name, _ in getattr(plain, names)()] == [name for name, _ in getattr(recomputed, names)()]
    plain, recomputed = perceptron(same), perceptron(Recompute)
    values = [Arena(model, seed=4).values for model in (plain, recomputed)]
    np.testing.assert_array_equal(*values)
    numbers = [[layer.number for layer in m.layers() if isinstance(layer, Dropout)] for m in (plain, recomputed)]
    assert numbers[0] == numbers[1] == [0, 1, 2]
    assert not alone(Recompute)[0].layer.needs_dx


class Counting(Layer):
    """y = x, and the number of forwards."""

    def __init__(self):
        self.calls = 0

    def forward(self, x, ctx):
        self.calls += 1
        return x

    def backward(self, dy, ctx):
        return dy


def test_a_second_forward_only_where_another_has_used_the_memory():
    """The last block of a model, and a last stage whose backward follows its forward, do without."""
    run = Microbatches(lambda: [Sequential(*(Recompute(Counting()) for _ in range(3)))], samples((6,)))
    counts = {}
    for order in (PLAIN, "F0 F1 F2 B0 B1 B2", "F0 F1 F2 B2 B1 B0", "F0 B0 W0 F1 B1 W1 F2 B2 W2"):
        for block in run.layers[0]:
            block.layer.calls = 0
        run.run(order, steps=1)
        counts[order] = [block.layer.calls for block in run.layers[0]]
    assert list(counts.values()) == [[6, 6, 3], [6, 6, 6], [6, 6, 5], [6, 6, 6]]


@pytest.mark.parametrize(("before", "split"), [("FB", "111"), ("F", "101"), ("F", "010"), ("B", "101"), ("B", "010")])
def test_results_of_an_earlier_microbatch_are_not_taken(before, split):
    """A microbatch finds the context, the block and the memory of one before it, with that one's results.

    Gradients are put off for some; whether they are is said before forward or before backward, or never unsaid.
    """
    make, shape = MODELS["whole"]
    expected = Microbatches(lambda: [make(same)], samples(shape, (4, 4, 4))).run(PLAIN, steps=1)
    run = Microbatches(lambda: [make(Recompute)], samples(shape, (4, 4, 4)))
    run.arena.begin_step(3)
    ctx, found = run.context(), {}
    for m, put_off in enumerate(split):
        later = [] if put_off == "1" else None
        if "F" in before:
            ctx.later = later
        ctx.first = 4 * m
        found["y", m] = run.forward(run.xs[m], ctx).copy()
        if "B" in before or put_off == "0":
            ctx.later = later
        found["dx", m] = run.backward(run.dy(found["y", m], 0), ctx).copy()
        for write in ctx.later or ():
            write()
    found["gradients"], found["states"] = run.arena.gradients, run.arena.states
    assert_same_bits(found, expected)


@pytest.mark.parametrize("name", ["perceptron", "growing", "normalized", "two levels"])
def test_memory(name):
    """Blocks and microbatches compute in the same memory; each keeps an input."""
    make, shape = MODELS[name]
    bytes_of = {}
    for around in (same, Recompute):
        run = Microbatches(lambda around=around: [make(around)], samples(shape, (40, 40, 40)))
        run.run("F0 F1 F2 B0 B1 B2")
        bytes_of[around] = [ctx.num_bytes for ctx in run.contexts]
    plain, recomputed = bytes_of[same], bytes_of[Recompute]
    assert recomputed[1] == recomputed[2] < 0.6 * plain[1]
    assert recomputed[0] < plain[0]


def test_memory_is_asked_for_once():
    run = Microbatches(lambda: [growing(Recompute)], samples((6,)))
    run.run("F0 F1 B0 B1 F2 B2")
    blocks = run.contexts[0]._pool.common.blocks
    before = [array.ctypes.data for array in blocks.arrays]
    ctx, xs = run.contexts[0], run.xs
    for x in (xs[2], xs[0]):
        run.backward(run.forward(x, ctx), ctx)
    assert [array.ctypes.data for array in blocks.arrays] == before
    assert max(before) > 0
