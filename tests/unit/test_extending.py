"""The code of docs/extending.md: the layer, model, optimizer, op, collective, codec and hooks in it work."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mpitrain import models, optim
from mpitrain.arena import Arena
from mpitrain.collectives import check, find
from mpitrain.layers import Linear, Sequential, Tanh
from mpitrain.ops import OPS
from mpitrain.parallel.compress.registry import make_codec
from mpitrain.parallel.gradient_hook import make_gradient_hook
from mpitrain.parallel.sync.base import SyncParts
from mpitrain.parallel.sync.methods import SYNCS
from mpitrain.training.hooks.registry import HOOKS
from mpitrain.user_file import load_file
from tests.gradients import check_layer
from tests.microbatches import ORDERS, Microbatches, assert_same_bits

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """The path of a file with all code of the page, and the module."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 10
    path = tmp_path_factory.mktemp("extending") / "mine.py"
    path.write_text("\n\n".join(blocks), encoding="utf-8")
    module = load_file(path)
    yield path, module
    OPS.pop("softplus", None)  # tests of all ops are not about this one


def test_the_layer(mine):
    check_layer(mine[1].Scale(3), np.random.default_rng(0).standard_normal((5, 3)))


def test_the_layer_whose_gradient_is_put_off(mine):
    rng = np.random.default_rng(0)
    check_layer(mine[1].LaterScale(3), rng.standard_normal((5, 3)))
    xs = [rng.standard_normal((n, 3)).astype(np.float32) for n in (4, 2, 3)]
    run = Microbatches(lambda: [Sequential(Linear(3, 3), mine[1].LaterScale(3), Tanh(), mine[1].LaterScale(3))], xs)
    expected = run.run()
    for order in ORDERS:
        assert_same_bits(run.run(order), expected, order)


def test_the_model(mine):
    model = models.build(f"{mine[0]}:net:width=7", (4, 4, 1), 3)
    assert sum(p.size for _, p in model.named_parameters()) == 16 * 7 + 7 + 7 + 7 * 3 + 3
    check_layer(model, np.random.default_rng(0).standard_normal((5, 4, 4, 1)))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_optimizer(mine, weight_decay):
    arena = Arena(Linear(3, 2).named_parameters(), dtype=np.float64)
    optimizer = optim.build(f"{mine[0]}:Lion:beta2=0.98,weight_decay={weight_decay}", arena)
    rng = np.random.default_rng(0)
    momentum = {p.name: np.zeros(p.shape) for p in arena.parameters}
    for _ in range(3):
        expected = {}
        for p in arena.parameters:
            p.grad[...] = rng.standard_normal(p.shape)
            gradient, kept = 0.5 * p.grad, p.data * (1 - 0.01 * weight_decay if p.decay else 1)
            expected[p.name] = kept - 0.01 * np.sign(0.9 * momentum[p.name] + 0.1 * gradient)
            momentum[p.name] = 0.98 * momentum[p.name] + 0.02 * gradient
        optimizer.step(0.01, 0.5)
        for p in arena.parameters:
            np.testing.assert_allclose(p.data, expected[p.name], rtol=1e-12)


def test_the_op(mine):
    x, y = np.array([-1000.0, 0.0, 1000.0]), np.empty(3)
    mine[1].softplus(x, y)
    np.testing.assert_allclose(y, [0, np.log(2), 1000])


def test_the_collective(mine):
    assert check(find(f"{mine[0]}:my_ring"), 9).startswith(f"{mine[0]}:my_ring: checked for P <= 9")


def test_the_hook(mine):
    hook = HOOKS.make(f"{mine[0]}:StopAtLoss:loss=0.2")
    said, stopped = [], []
    for loss in (0.3, 0.1):
        hook.step_end(SimpleNamespace(step=4, loss=loss, note=said.append, stop=lambda: stopped.append(True)))
    assert (said, stopped) == (["the loss is 0.100 after step 4"], [True])


def test_the_gradient_hook(mine):
    exchange = make_gradient_hook(f"{mine[0]}:every_other:stride=2")
    group, state = SimpleNamespace(all_reduce=lambda array, algorithm: 3 * array), {}
    total = np.zeros(5)
    for step in range(4):
        gradient = np.ones(5, np.float32)
        exchange(group, gradient, step, state)
        total = total + gradient
    np.testing.assert_array_equal(total, [9, 12, 9, 12, 9])


def test_the_codec(mine):
    codec = make_codec(f"{mine[0]}:Upper")
    x, error = np.random.default_rng(0).standard_normal((2, 100)).astype(np.float32)
    message, y, before = np.zeros(codec.message_bytes(100), np.uint8), np.ones(100, np.float32), error.copy()
    codec.encode(x, error, message, (2.0, 0.0, 0.5))
    codec.decode(message, y, True)
    np.testing.assert_allclose(y - 1 + 2 * error, x + 2 * before, rtol=0, atol=1e-6)
    assert 0 < np.abs(error).max() < 0.02


def test_the_synchronization(mine):
    arena = Arena(Linear(3, 2).named_parameters(), dtype=np.float64)
    alone = SimpleNamespace(rank=0, size=1, sum=lambda array: array)
    sync, optimizer = SYNCS.make(f"{mine[0]}:Average:steps=2", SyncParts(arena, alone)), optim.build("sgd", arena)
    weights, met = [arena.values.copy()], []
    for step in range(1, 5):
        sync.prepare(step, meet=False)
        arena.begin_step()
        arena.header[0] = 1
        for p in arena.parameters:
            p.grad[...] = step
        sync.finish()
        sync.update(optimizer, 0.1, 1.0)
        met.append(sync.meets)
        weights.append(arena.values.copy())
    assert met == [False, True, False, True]
    went = [weights[0][16:] - each[16:] for each in weights]
    moved = went[1] != 0  # not the padding
    np.testing.assert_allclose([each[moved][0] for each in went[1:4]], [0.1, 0.3, 0.6])
    np.testing.assert_allclose(went[4][moved], (1.0 + 0.3) / 2)
