"""Ends of residual blocks and ReLUs of convolutions, fused, against the layers one by one: the same bits on a CPU."""

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.layers import BatchNorm2d, Conv2d, Recompute, ReLU, Residual, Sequential, Tanh

X = np.random.default_rng(0).standard_normal((4, 8, 6, 4)).astype(np.float32)


def chain(fuse):
    return Sequential(
        *(Conv2d(4, 5, 3, padding=1), ReLU(), Conv2d(5, 6, 3, 2, 1, bias=False), ReLU(), Conv2d(6, 6, 1), ReLU()),
        *(Conv2d(6, 6, 3, groups=6), ReLU(), Conv2d(6, 4, 1)),
        fuse=fuse,
    )


def block(fuse, channels=4, stride=1, shortcut=False, activation=ReLU):
    body = Sequential(
        *(Conv2d(channels, 6, 3, stride, 1, bias=False), BatchNorm2d(6), ReLU()),
        *(Conv2d(6, 6 if shortcut else channels, 3, 1, 1), BatchNorm2d(6 if shortcut else channels)),
        fuse=fuse,
    )
    other = Sequential(Conv2d(channels, 6, 1, stride), BatchNorm2d(6), fuse=fuse) if shortcut else None
    return Residual(body, other, activation() if activation else None)


def plain_block(fuse, shortcut=None):
    """A block without normalization, whose shortcut may write over its dy."""
    return Residual(Sequential(Conv2d(4, 5, 3, 1, 1), ReLU(), Conv2d(5, 4, 1), fuse=fuse), shortcut, ReLU())


MODELS = {
    "chain": chain,
    "block": block,
    "block without an activation": lambda fuse: block(fuse, activation=None),
    "block with another activation": lambda fuse: block(fuse, activation=Tanh),
    "block with a shortcut": lambda fuse: block(fuse, stride=2, shortcut=True),
    "blocks": lambda fuse: Sequential(block(fuse), block(fuse), block(fuse, stride=2, shortcut=True), block(fuse, 6)),
    "blocks computed again": lambda fuse: Sequential(Recompute(block(fuse)), Recompute(block(fuse, 4, 2, True))),
    "block of convolutions": plain_block,
    "block of convolutions with a shortcut": lambda fuse: plain_block(fuse, Sequential(Conv2d(4, 4, 1), Tanh())),
    "norm alone": lambda fuse: Residual(Sequential(BatchNorm2d(4), fuse=fuse), Conv2d(4, 4, 1), ReLU()),
}


def results(model, frozen, needs_dx, later):
    """Return y, dx and all gradients and states of two steps, the second of which adds to the first."""
    for (_, p), off in zip(model.named_parameters(), frozen, strict=True):
        p.frozen = bool(off)
    model.ask_dx(needs_dx)
    arena, ctx = Arena(model.named_parameters(), model.named_states(), seed=3), Context(seed=3)
    arena.begin_step(2)
    found = []
    for _ in range(2):
        y = model.forward(X, ctx).copy()
        dy = np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape)
        ctx.later = [] if later else None
        if needs_dx or model.trains:
            found += [y, model.backward(dy, ctx).copy()]
        for write in ctx.later or ():
            write()
        ctx.later = None
    ctx.training = False
    return [*found, model.forward(X, ctx).copy(), arena.gradients.copy(), arena.states.copy()]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", MODELS)
def test_the_same_bits(name, seed):
    """With any parameters frozen, for a dx or none, with gradients put off or not; and in evaluation."""
    rng = np.random.default_rng(seed)
    count = len(list(MODELS[name](True).named_parameters()))
    frozen = rng.integers(0, 2, count) * (seed > 0)
    needs_dx, later = bool(seed % 2 == 0), bool(seed // 2 % 2)
    fused, plain = (results(MODELS[name](fuse), frozen, needs_dx, later) for fuse in (True, False))
    for mine, expected in zip(fused, plain, strict=True):
        np.testing.assert_array_equal(mine, expected, err_msg=f"seed {seed}, frozen {frozen}")


def test_names_stay():
    """The layer that ends a block runs under its own name, and so does the shortcut, before it."""
    model, seen = block(True, stride=2, shortcut=True), []
    names = {layer: name for name, layer in model.running()}
    Arena(model.named_parameters(), model.named_states())
    stop = model.observe(lambda layer, phase, array: seen.append((names[layer], phase)))
    model.forward(X, Context())
    stop()
    ends = [name for name, phase in seen if phase == "output"]
    assert ends == ["body.0", "body.1+2", "body.3", "shortcut.0", "shortcut.1", "body.4"]


def test_a_subclass_ends_no_block():
    """A layer that may compute something else has the sum as a pass of its own."""

    class Doubled(BatchNorm2d):
        def forward(self, x, ctx, relu=False):
            return 2 * super().forward(x, ctx, relu)

    class Own(Sequential):
        def forward(self, x, ctx):
            return 2 * super().forward(x, ctx)

    for body in (Doubled(4), Sequential(Conv2d(4, 4, 1), Doubled(4)), Own(Conv2d(4, 4, 1), BatchNorm2d(4))):
        assert body.ending() is None
    assert Own(Conv2d(4, 4, 1), BatchNorm2d(4)).beginning() is None
    assert Sequential(Conv2d(4, 4, 1), BatchNorm2d(4), ReLU()).ending() is None
    assert Sequential().ending() is Sequential().beginning() is None
