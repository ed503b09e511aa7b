"""Branches beside each other, and blocks whose layers see all results before them."""

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import (
    BatchNorm2d,
    Concat,
    Conv2d,
    DenseBlock,
    Dropout,
    Linear,
    ReLU,
    Sequential,
    SkipConcat,
    Tanh,
)
from mpitrain.models import prepare
from mpitrain.ops.dispatch import numpy_only
from tests.gradients import check_layer


def dense(channels, growth):
    return Sequential(BatchNorm2d(channels), ReLU(), Conv2d(channels, growth, 3, padding=1))


def block(make=dense):
    return DenseBlock(make(3, 2), make(5, 2), make(7, 2), growth=2)


def overwrites(channels, growth):
    return Sequential(BatchNorm2d(channels), Conv2d(channels, growth, 1), Tanh())


LAYERS = {
    "branches": lambda: Concat(Conv2d(3, 2, 3, padding=1), Sequential(Conv2d(3, 4, 1), ReLU())),
    "branches that overwrite dy": lambda: Concat(Tanh(), Sequential(Conv2d(3, 1, 1), Tanh())),
    "the identity as a branch": lambda: Concat(Sequential(), Tanh(), Sequential()),
    "one branch": lambda: Concat(Conv2d(3, 2, 1)),
    "in each other": lambda: Concat(Concat(Tanh(), Conv2d(3, 2, 1)), Sequential(Conv2d(3, 2, 1), Concat(Tanh()))),
    "a block": block,
    "a block of layers that overwrite dy": lambda: block(overwrites),
    "a block of nothing": lambda: DenseBlock(growth=4),
    "blocks in a row": lambda: Sequential(block(), Conv2d(9, 3, 1), block()),
    "a block in a branch": lambda: Concat(block(), Tanh()),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("num_samples", [0, 3])
def test_gradients(name, num_samples):
    check_layer(LAYERS[name](), np.random.default_rng(1).standard_normal((num_samples, 4, 5, 3)), places=12)


def test_branches_of_rows():
    check_layer(Concat(Linear(3, 2), Tanh()), np.random.default_rng(1).standard_normal((4, 3)))


def test_channels_are_in_the_order_of_branches():
    layer, x = Concat(Tanh(), Sequential(), ReLU()), np.random.default_rng(2).standard_normal((2, 3, 4, 5))
    y = layer.forward(x, Context(dtype=np.float64))
    np.testing.assert_array_equal(y, np.concatenate([np.tanh(x), x, np.maximum(x, 0)], axis=3))
    assert [name for name, _ in LAYERS["branches"]().named_parameters()] == [
        *("0.weight", "0.bias", "1.0.weight", "1.0.bias")
    ]


def row_of_skips():
    """Return the same network as ``block``, with copies."""
    return Sequential(*(SkipConcat(dense(channels, 2)) for channels in (3, 5, 7)))


@pytest.mark.parametrize("numpy", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_block_has_the_bits_of_copies(numpy, training):
    """In single precision, with the C kernels, which read pixels that are apart, and without."""
    found = {}
    rng = np.random.default_rng(3)
    x, dy = (rng.standard_normal((4, 6, 5, c)).astype(np.float32) for c in (3, 9))
    values = None
    for name, layer in {"views": block(), "copies": row_of_skips()}.items():
        arena, ctx = Arena(layer, seed=1), Context(training=training)
        values = arena.values.copy() if values is None else values
        arena.values[:] = values  # names, and so first values, differ
        arena.begin_step()
        with numpy_only() if numpy else np.errstate():
            y = layer.forward(x, ctx).copy()
            dx = layer.backward(dy.copy(), ctx) if training else None
        found[name] = [y, arena.states, *([dx, arena.gradients] if training else [])]
    for one, other in zip(*found.values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_block_keeps_less_than_copies():
    sizes = []
    for layer in (
        DenseBlock(*(dense(16 + 4 * i, 4) for i in range(12)), growth=4),
        Sequential(*(SkipConcat(dense(16 + 4 * i, 4)) for i in range(12))),
    ):
        arena, ctx = Arena(layer), Context()
        arena.begin_step()
        layer.backward(layer.forward(np.ones((8, 32, 32, 16), np.float32), ctx), ctx)
        sizes.append(ctx.num_bytes)
    assert sizes[0] < 0.65 * sizes[1], sizes


@pytest.mark.parametrize("make", [LAYERS["branches"], block])
def test_dx_is_not_computed_where_nobody_needs_it(make):
    layer = make()
    arena = Arena(layer)
    prepare(layer)
    assert not layer.needs_dx
    ctx, x = Context(), np.ones((1, 4, 4, 3), np.float32)
    arena.begin_step()
    y = layer.forward(x, ctx)
    assert layer.backward(np.ones_like(y), ctx).size == 0
    assert all(p._writes == p.uses for p in arena.parameters)


def test_frozen_layers():
    layer = block()
    for _, p in layer.members[0].named_parameters():
        p.frozen = True
    arena = Arena(layer)
    prepare(layer)
    assert [member.needs_dx for member in layer.members] == [False, False, True]
    ctx = Context()
    arena.begin_step()
    y = layer.forward(np.ones((2, 4, 4, 3), np.float32), ctx)
    layer.backward(np.ones_like(y), ctx)
    assert all(p._writes == p.uses for p in arena.parameters if not p.frozen)


def test_layers_may_be_replaced():
    layer = LAYERS["branches"]()
    layer.replace("0", Dropout(0.5))
    assert [type(branch).__name__ for branch in layer.branches] == ["Dropout", "Sequential"]
    made = block()
    made.replace("2", overwrites(7, 2))
    check_layer(made, np.random.default_rng(1).standard_normal((2, 3, 3, 3)), places=5)


def test_bad_branches():
    x = np.zeros((1, 4, 4, 3), np.float32)
    with pytest.raises(UserError, match="at least one branch"):
        Concat()
    wrong = Concat(Conv2d(3, 2, 1), Conv2d(3, 2, 3))
    Arena(wrong)
    with pytest.raises(UserError, match=r"branches of a Concat give \(1, 4, 4, 2\), \(1, 2, 2, 2\)"):
        wrong.forward(x, Context())
    wrong = DenseBlock(Conv2d(3, 2, 1), growth=4)
    Arena(wrong)
    with pytest.raises(UserError, match=r"must give \(1, 4, 4, 4\) for images \(1, 4, 4, 3\), not \(1, 4, 4, 2\)"):
        wrong.forward(x, Context())
