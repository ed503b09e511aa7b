"""``Layer.observe``: the arrays that go into and come out of every layer that runs."""

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.layers import Flatten, Linear, MultiHeadAttention, ReLU, Residual, Sequential
from mpitrain.models import build


def run(model, x):
    arena, ctx = Arena(model.named_parameters(), model.named_states()), Context()
    arena.begin_step()
    y = model.forward(x, ctx)
    return y, model.backward(np.ones_like(y), ctx)


def test_phases_and_arrays():
    model, seen = Sequential(Flatten(), Linear(6, 3), ReLU()), []
    names = {layer: name for name, layer in model.running()}
    stop = model.observe(lambda layer, phase, array: seen.append((names[layer], phase, array.shape)))
    y, dx = run(model, np.ones((4, 2, 3), np.float32))
    assert seen == [
        ("0", "forward", (4, 2, 3)),
        ("0", "output", (4, 6)),
        ("1+2", "forward", (4, 6)),
        ("1+2", "output", y.shape),
        ("1+2", "backward", y.shape),
        ("1+2", "gradient", (4, 6)),
        ("0", "backward", (4, 6)),
        ("0", "gradient", dx.shape),
    ]
    stop()
    run(model, np.ones((4, 2, 3), np.float32))
    assert len(seen) == 8


def test_without_observers_nothing_is_wrapped():
    model = build("resnet8", (8, 8, 3), 10)
    before = {layer: set(vars(layer)) for _, layer in model.running()}
    first, second = (model.observe(lambda *_: None) for _ in range(2))
    assert all("forward" in vars(layer) for layer in before)
    first()
    assert all("forward" in vars(layer) for layer in before)
    second()
    assert {layer: set(vars(layer)) for layer in before} == before


def test_several_observers_see_the_same():
    model, seen = Sequential(Linear(2, 2), Linear(2, 2)), ([], [])
    stops = [model.observe(lambda layer, phase, _, to=to: to.append((layer, phase))) for to in seen]
    run(model, np.ones((1, 2), np.float32))
    assert seen[0] == seen[1]
    assert len(seen[0]) == 8
    stops[0]()
    run(model, np.ones((1, 2), np.float32))
    assert len(seen[1]) == 2 * len(seen[0])


def test_results_do_not_depend_on_observers():
    x = np.random.default_rng(0).standard_normal((4, 8, 8, 3)).astype(np.float32)
    found = []
    for observed in (False, True):
        model = build("resnet8", (8, 8, 3), 5)
        if observed:
            model.observe(lambda *_: None)
        found.append(run(model, x)[0].copy())
    np.testing.assert_array_equal(*found)


def test_an_observer_may_end_the_step():
    model = Sequential(Linear(2, 2))

    def refuse(layer, phase, array):
        raise ZeroDivisionError(phase)

    stop = model.observe(refuse)
    with pytest.raises(ZeroDivisionError, match="forward"):
        run(model, np.ones((1, 2), np.float32))
    stop()
    run(model, np.ones((1, 2), np.float32))


def test_what_runs_inside_of_other_layers():
    model = Sequential(Residual(Sequential(Linear(4, 4), ReLU()), Linear(4, 4), ReLU()), MultiHeadAttention(4, 2))
    assert [name for name, _ in model.running()] == ["0.body.0+1", "0.shortcut", "1.qkv", "1.out"]
