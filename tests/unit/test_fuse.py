import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.layers import (
    GELU,
    BatchNorm2d,
    Conv2d,
    Flatten,
    LayerNorm,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    fuse_activations,
)
from mpitrain.saved import Saved
from tests.gradients import check_layer

X = np.random.default_rng(0).standard_normal((3, 4, 5, 2))


def network():
    body = Sequential(Conv2d(3, 3, 3, padding=1), BatchNorm2d(3))
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
    )


def fused():
    model = network()
    fuse_activations(model)
    return model


def test_gradients_are_those_of_the_fused_network():
    check_layer(fused(), X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fused_and_plain_do_the_same(dtype):
    results = []
    for model in (network(), fused()):
        arena, saved = Arena(model.named_parameters(), model.named_states(), dtype=dtype), Saved(dtype=dtype)
        arena.begin_step()
        y = model.forward(X.astype(dtype), saved).copy()
        dx = model.backward(np.cos(np.arange(y.size, dtype=dtype)).reshape(y.shape), saved)
        results.append([y, dx.copy(), arena.gradients.copy(), arena.states.copy(), [p.name for p in arena.parameters]])
    *plain, names = results[0]
    *quick, same_names = results[1]
    assert names == same_names
    for found, expected in zip(quick, plain):
        np.testing.assert_allclose(found, expected, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-5)


def test_what_is_fused():
    model = fused()
    linear = [layer for layer in model if isinstance(layer, Linear)]
    assert [getattr(layer, "relu", None) for layer in list(model)[:5]] == [None, True, None, True, None]
    assert [layer.relu for layer in linear] == [True, True, False, False, False]
    assert [layer.gelu for layer in linear] == ["", "", "gelu", "gelu_tanh", ""]
    assert [layer.done for layer in model.layers() if isinstance(layer, ReLU | GELU)] == [True] * 7
    assert [layer.done_above for layer in linear] == [True, True, True, False, False]
    assert [layer.below for layer in linear] == [(), (linear[0],), (linear[1],), (linear[2],), ()]
    assert len(list(model.named_parameters())) == len({p for _, p in model.named_parameters()})
    alone = Sequential(Conv2d(1, 1, 1), ReLU())
    fuse_activations(alone)
    assert not alone[1].done
