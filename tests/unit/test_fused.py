"""Execution plans: pairs and chains of layers in one pass, with the results of the layers one by one."""

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.layers import (
    GELU,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    LayerNorm,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
)
from tests.gradients import check_layer

X = np.random.default_rng(0).standard_normal((3, 4, 5, 2))


def network(fuse=True):
    body = Sequential(Conv2d(3, 3, 3, padding=1), BatchNorm2d(3), fuse=fuse)
    return Sequential(
        Conv2d(2, 3, 3, padding=1),
        BatchNorm2d(3),
        ReLU(),
        Residual(body, None, ReLU()),
        Conv2d(3, 4, 1),
        MaxPool2d(2, 1),
        ReLU(),
        Flatten(),
        Linear(48, 7),
        ReLU(),
        Linear(7, 5),
        ReLU(),
        Linear(5, 4),
        GELU(),
        Linear(4, 3),
        GELU(approximate=True),
        LayerNorm(3),
        Linear(3, 3),
        fuse=fuse,
    )


def plan(model):
    return [(name, layer.kind) for name, layer in model.running()]


@pytest.mark.parametrize("fuse", [True, False])
def test_gradients(fuse):
    check_layer(network(fuse), X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fused_and_plain_do_the_same(dtype):
    results = []
    for fuse in (False, True):
        model = network(fuse)
        arena, ctx = Arena(model.named_parameters(), model.named_states(), dtype=dtype), Context(dtype=dtype)
        arena.begin_step()
        y = model.forward(X.astype(dtype), ctx).copy()
        dx = model.backward(np.cos(np.arange(y.size, dtype=dtype)).reshape(y.shape), ctx)
        results.append([y, dx.copy(), arena.gradients.copy(), arena.states.copy(), [p.name for p in arena.parameters]])
    *plain, names = results[0]
    *fused, same_names = results[1]
    assert names == same_names
    for found, expected in zip(fused, plain):
        np.testing.assert_allclose(found, expected, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-5)


def test_the_plan():
    expected = [
        ("0", "Conv2d"),
        ("1+2", "BatchNorm2d+ReLU"),
        ("3.body.0", "Conv2d"),
        ("3.body.1", "BatchNorm2d"),
        ("4", "Conv2d"),
        ("5+6", "MaxPool2d+ReLU"),
        ("7", "Flatten"),
        ("8+9", "Linear+ReLU"),
        ("10+11", "Linear+ReLU"),
        ("12+13", "Linear+GELU"),
        ("14+15", "Linear+GELU"),
        ("16", "LayerNorm"),
        ("17", "Linear"),
    ]
    model = network()
    assert plan(model) == expected
    assert len(list(model.named_parameters())) == len({p for _, p in model.named_parameters()})
    assert [type(layer) for layer in model] == [type(layer) for layer in network(fuse=False)]
    assert len(plan(network(fuse=False))) == 19


def test_a_chain_ends_where_something_else_is_between():
    dropped = Sequential(Linear(2, 3), ReLU(), Dropout(0.5), Linear(3, 2), ReLU())
    assert plan(dropped) == [("0+1", "Linear+ReLU"), ("2", "Dropout"), ("3+4", "Linear+ReLU")]
    assert plan(Sequential(Linear(2, 3), Linear(3, 2))) == [("0", "Linear"), ("1", "Linear")]
    assert plan(Sequential(Conv2d(1, 1, 1), GELU())) == [("0", "Conv2d"), ("1", "GELU")]
    chain = Sequential(Linear(2, 3), GELU(), Linear(3, 2))
    assert plan(chain) == [("0+1", "Linear+GELU"), ("2", "Linear")]
    links = [layer for _, layer in chain.running()]
    assert links[1].below is links[0]


def test_a_subclass_runs_by_itself():
    """A subclass may compute something else than its base class."""

    class Doubled(Linear):
        def forward(self, x, ctx):
            return 2 * super().forward(x, ctx)

    class Leaky(ReLU):
        pass

    for first, second in ((Doubled(2, 3), ReLU()), (Linear(2, 3), Leaky()), (BatchNorm2d(3), Leaky())):
        assert len(plan(Sequential(first, second))) == 2
    model, plain = Sequential(Doubled(2, 3), ReLU()), Sequential(Linear(2, 3), ReLU())
    for each in (model, plain):
        Arena(each.named_parameters(), seed=1)
    x = np.ones((4, 2), np.float32)
    np.testing.assert_array_equal(model.forward(x, Context()), 2 * plain.forward(x, Context()))
