import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.layers import Conv2d, ConvTranspose2d, MaxPool2d, Sequential, SkipConcat, Tanh
from mpitrain.models import prepare
from tests.gradients import check_layer


def down_and_up(*between):
    return Sequential(MaxPool2d(2), Conv2d(2, 3, 3, padding=1), Tanh(), *between, ConvTranspose2d(3, 2, 2))


LAYERS = {
    "down and up": lambda: SkipConcat(down_and_up()),
    "twice": lambda: SkipConcat(down_and_up(Conv2d(3, 2, 1), SkipConcat(down_and_up()), Conv2d(4, 3, 1))),
    "overwrites dy": lambda: SkipConcat(Tanh()),
    "nothing inside": lambda: SkipConcat(Sequential()),
    "larger than x": lambda: SkipConcat(ConvTranspose2d(2, 1, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("size", [(4, 8), (5, 7), (6, 5)])
@pytest.mark.parametrize("num_samples", [0, 2])
def test_gradients(name, size, num_samples):
    check_layer(LAYERS[name](), np.random.default_rng(1).standard_normal((num_samples, *size, 2)), places=20)


def test_channels_of_x_come_first_and_lost_pixels_are_zero():
    layer, x = SkipConcat(down_and_up()), np.random.default_rng(2).standard_normal((2, 5, 7, 2)).astype(np.float32)
    Arena(layer.named_parameters())
    ctx = Context()
    y = layer.forward(x, ctx)
    np.testing.assert_array_equal(y[..., :2], x)
    np.testing.assert_array_equal(y[:, :4, :6, 2:], layer.inner.forward(x, Context()))
    assert not y[:, 4:, :, 2:].any()
    assert not y[:, :, 6:, 2:].any()


def test_dx_is_not_computed_where_nobody_needs_it():
    frozen = SkipConcat(down_and_up())
    arena = Arena(frozen.named_parameters())
    prepare(frozen)
    assert not frozen.needs_dx
    ctx, x = Context(), np.ones((1, 4, 4, 2), np.float32)
    arena.begin_step()
    assert frozen.backward(np.ones_like(frozen.forward(x, ctx)), ctx).size == 0
    assert all(p._writes == p.uses for p in arena.parameters)
    for _, p in frozen.named_parameters():
        p.frozen = True
    assert frozen.backward(np.ones((1, 4, 4, 4), np.float32), ctx).size == 0
