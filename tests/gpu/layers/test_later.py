"""Gradients put off, and layers computed again, on a device that stands for a GPU: the bits of the plain order."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.layers import (
    GELU,
    Dropout,
    Embedding,
    LayerNorm,
    Linear,
    Recompute,
    Residual,
    Sequential,
)
from tests.microbatches import PLAIN, Microbatches, assert_same_bits


def tokens(around):
    def block():
        mlp = Sequential(LayerNorm(6), Linear(6, 12), GELU(), Linear(12, 6), Dropout(0.2))
        return Residual(mlp)

    return models.prepare(Sequential(Embedding(9, 6), around(block()), around(block()), Linear(6, 4)))


def images(around):
    model = models.build("resnet8", (8, 8, 3), 4)
    return Sequential(*(around(part) for part in (model.part(0, 4), model.part(4, 7), model.part(7, 8))))


def plain(layer):
    return layer


MODELS = {"tokens": tokens, "images": images}


def samples(name):
    rng = np.random.default_rng(0)
    if name == "tokens":
        return [rng.integers(0, 9, (n, 5)) for n in (3, 2)]
    return [rng.standard_normal((n, 8, 8, 3)).astype(np.float32) for n in (3, 2)]


@pytest.mark.parametrize("order", [PLAIN, "F0 F1 B0 B1", "F0 F1 B0 B1 W0 W1", "F0 B0 F1 W0 B1 W1"])
@pytest.mark.parametrize("around", [plain, Recompute])
@pytest.mark.parametrize("name", MODELS)
def test_same_bits(device, name, around, order):
    expected = Microbatches(lambda: [MODELS[name](plain)], samples(name), device=device).run(PLAIN)
    found = Microbatches(lambda: [MODELS[name](around)], samples(name), device=device).run(order)
    assert_same_bits(found, expected, f"{name}, {order}")


@pytest.mark.parametrize("order", ["F0 F1 B0 B1", "F0 F1 B0 B1 W0 W1"])
@pytest.mark.parametrize("name", MODELS)
def test_a_steady_step_allocates_nothing(device, name, order):
    run = Microbatches(lambda: [MODELS[name](Recompute)], samples(name), device=device)
    run.run(order)
    dy = [device.from_host(np.ones(y.shape, np.float32)) for y in (run.forward(x, run.contexts[0]) for x in run.xs)]
    with device.counted() as counts:
        for kind, m in order.split():
            ctx = run.contexts[int(m)]
            if kind == "F":
                run.forward(run.xs[int(m)], ctx)
            elif kind == "B":
                ctx.later = [] if "W" in order else None
                run.backward(dy[int(m)], ctx)
            else:
                for write in ctx.later:
                    write()
                ctx.later = None
    assert counts["buffers"] == counts["temporaries"] == counts["syncs"] == 0
