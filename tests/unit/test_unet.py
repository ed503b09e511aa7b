import itertools

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.model_table import ModelTable
from mpitrain.optim import SGD
from tests.gradients import check_layer

PAPER = "unet:depth=4,width=64,batch_norm=false"


def count(text, shape, outputs):
    return sum(entry.size for entry in ModelTable.of(models.build(text, shape, outputs)).parameters)


def paper_count(channels, outputs, widths=(64, 128, 256, 512, 1024)):
    """The layers of figure 1 of the paper, one by one: weights and biases."""
    conv = lambda size, inputs, outputs: size * size * inputs * outputs + outputs  # noqa: E731
    total = conv(1, widths[0], outputs)
    for inputs, width in zip((channels, *widths), widths, strict=False):
        total += conv(3, inputs, width) + conv(3, width, width)
    for width, below in itertools.pairwise(widths):
        total += conv(2, below, width) + conv(3, 2 * width, width) + conv(3, width, width)
    return total


@pytest.mark.parametrize(("channels", "outputs", "known"), [(1, 2, 31_030_658), (3, 5, 31_032_005)])
def test_the_network_of_the_paper(channels, outputs, known):
    assert paper_count(channels, outputs) == known
    assert count(PAPER, (572, 572, channels), outputs) == known


def test_number_of_parameters_with_batch_norm():
    """The number of Pytorch-UNet (milesial): the same layers with batch norm instead of biases."""
    assert count("unet:depth=4,width=64", (64, 64, 3), 2) == 31_037_698


@pytest.mark.parametrize("shape", [(8, 8, 1), (13, 9, 3), (31, 17, 2)])
@pytest.mark.parametrize("num_samples", [0, 2])
def test_each_pixel_gets_logits(shape, num_samples):
    model = models.build("unet:width=4", shape, 5)
    arena, ctx = Arena(model.named_parameters(), model.named_states()), Context()
    arena.begin_step()
    y = model.forward(np.ones((num_samples, *shape), np.float32), ctx)
    assert y.shape == (num_samples, *shape[:2], 5)
    assert model.backward(np.ones_like(y), ctx).size == 0
    assert np.isfinite(arena.gradients).all()
    assert all(p._writes == p.uses for p in arena.parameters)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("depth", [0, 2])
def test_gradients(depth, batch_norm):
    model = models.build("unet", (7, 6, 2), 3, depth=depth, width=3, batch_norm=batch_norm)
    check_layer(model, np.random.default_rng(0).standard_normal((2, 7, 6, 2)), places=5, tolerance=1e-5)


def test_a_few_steps_learn():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 12, 10, 1)).astype(np.float32)
    targets = (x[..., 0] + np.roll(x[..., 0], 1, axis=2) > 0).astype(np.int64)
    model, loss, ctx = models.build("unet:depth=1,width=8", x.shape[1:], 2), SoftmaxCrossEntropy(), Context()
    arena = Arena(model.named_parameters(), model.named_states())
    optimizer, losses = SGD(arena, momentum=0.9), []
    for _ in range(30):
        arena.begin_step()
        losses.append(loss.forward(model.forward(x, ctx), targets, ctx).loss / targets.size)
        model.backward(loss.backward(ctx), ctx)
        optimizer.step(0.1, 1 / targets.size)
    assert losses[-1] < losses[0] / 2, losses


def test_bad_input():
    with pytest.raises(UserError, match=r"takes images \(height, width, channels\)"):
        models.build("unet", (64,), 2)
    with pytest.raises(UserError, match="images of 9x6 cannot be halved 3 times: unet:depth=2 can take them"):
        models.build("unet", (9, 6, 1), 2)
    with pytest.raises(UserError, match="a depth of at least 0 and a width of at least 1, not -1 and 16"):
        models.build("unet:depth=-1", (8, 8, 1), 2)
