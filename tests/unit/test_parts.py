"""Parts of a model, as the stages of a pipeline have them: the whole's names, first values and bits."""

from itertools import pairwise

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.errors import UserError
from mpitrain.layers import (
    GELU,
    BatchNorm2d,
    Concat,
    Conv2d,
    DenseBlock,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    Linear,
    MaxPool2d,
    MultiHeadAttention,
    Part,
    Recompute,
    ReLU,
    Residual,
    Sequential,
)
from mpitrain.ops.dispatch import numpy_only
from tests.microbatches import PLAIN, Microbatches, assert_same_bits


def attention_stack():
    def block():
        mlp = Sequential(LayerNorm(6), Linear(6, 12), GELU(), Linear(12, 6), Dropout(0.2))
        return Sequential(Residual(Sequential(LayerNorm(6), MultiHeadAttention(6, 2))), Residual(mlp))

    return models.prepare(Sequential(Embedding(9, 6), Dropout(0.1), block(), block(), LayerNorm(6), Linear(6, 9)))


def nested():
    inner = Sequential(Linear(6, 8), ReLU(), Sequential(Linear(8, 8), GELU(), Linear(8, 8)), ReLU(), fuse=False)
    return models.prepare(Sequential(Flatten(), Dropout(0.2), inner, Linear(8, 8), GELU(), Sequential(), Linear(8, 3)))


def pooled():
    norm = Sequential(Conv2d(2, 4, 3), BatchNorm2d(4), ReLU())
    return models.prepare(Sequential(ReLU(), norm, Recompute(Residual(Conv2d(4, 4, 3, padding=1))), Flatten()))


def branches():
    """Return a model with layers that begin in views of wider pixels."""
    block = DenseBlock(*(Sequential(BatchNorm2d(c), ReLU(), Conv2d(c, 2, 1)) for c in (4, 6)), growth=2)
    both = Concat(Sequential(Conv2d(2, 3, 3, 2), ReLU()), MaxPool2d(3, 2), Conv2d(2, 1, 3, 2))
    return models.prepare(Sequential(both, Conv2d(6, 4, 1), block, BatchNorm2d(8), ReLU(), GlobalAvgPool()))


MODELS = {
    "mlp": ((8, 2), lambda: models.build("mlp:widths=8+9+7,activation=gelu,dropout=0.3", (8, 2), 5)),
    "relu": ((6,), lambda: models.build("mlp:widths=9+8", (6,), 4)),
    "lenet": ((12, 12, 1), lambda: models.build("lenet", (12, 12, 1), 5)),
    "convnet": ((8, 8, 1), lambda: models.build("convnet", (8, 8, 1), 5)),
    "resnet8": ((8, 8, 3), lambda: models.build("resnet8", (8, 8, 3), 5)),
    "bottlenecks": ((9, 8, 3), lambda: models.build("resnet:blocks=1+2,widths=8+12,stem=4", (9, 8, 3), 5)),
    "branches and dense blocks": ((7, 6, 2), branches),
    "attention": ("ids", attention_stack),
    "nested": ((3, 2), nested),
    "pooled": ((6, 7, 2), pooled),
}


def samples(shape, sizes=(4, 0, 3)):
    rng = np.random.default_rng(1)
    if shape == "ids":
        return [rng.integers(0, 9, (n, 5)) for n in sizes]
    return [rng.standard_normal((n, *shape)).astype(np.float32) for n in sizes]


def parts(model, *cuts):
    places = [0, *cuts, len(model.units())]
    return [model.part(first, stop) for first, stop in pairwise(places)]


def compare(name, *cuts, order):
    shape, make = MODELS[name]
    whole = Microbatches(lambda: [make()], samples(shape))
    cut = Microbatches(lambda: parts(make(), *cuts), samples(shape))
    assert_same_bits({"values": cut.arena.values}, {"values": whole.arena.values})
    assert_same_bits(cut.run(order), whole.run(PLAIN), f"{name} cut at {cuts}, {order}")


@pytest.mark.parametrize("order", [PLAIN, "in flight", "dw late"])
@pytest.mark.parametrize("name", MODELS)
def test_any_cut_gives_the_same_bits(name, order):
    for cut in range(len(MODELS[name][1]().units()) + 1):
        compare(name, cut, order=order)


@pytest.mark.parametrize("name", MODELS)
def test_every_unit_by_itself(name):
    compare(name, *range(1, len(MODELS[name][1]().units())), order="dw late")
    with numpy_only():
        compare(name, *range(1, len(MODELS[name][1]().units())), order="in flight")


@pytest.mark.parametrize("name", MODELS)
def test_the_arena_of_a_part_starts_with_the_values_of_the_whole(name):
    model = MODELS[name][1]()
    whole = Arena(model, seed=3)
    values = {p.name: p.data.copy() for p in whole.parameters}
    states = [s.name for s in whole.state_list]
    found, names = {}, []
    for part in parts(model, *range(1, len(model.units()))):
        arena = Arena(part, seed=3)
        found |= {p.name: p.data.copy() for p in arena.parameters}
        names += [s.name for s in arena.state_list]
    assert_same_bits(found, values)
    assert names == states


def test_units_are_members_of_nested_sequentials_too():
    names = [unit.name for unit in nested().units()]
    assert names == ["0", "1", "2.0", "2.1", "2.2.0", "2.2.1", "2.2.2", "2.3", "3", "4", "5", "6"]
    assert [unit.name for unit in attention_stack().units()] == ["0", "1", "2.0", "2.1", "3.0", "3.1", "4", "5"]


def test_layers_are_fused_as_in_the_whole_except_across_a_cut():
    model = nested()
    whole = ["0", "1", "2.0", "2.1", "2.2.0+1", "2.2.2", "2.3", "3+4", "6"]
    assert [name for name, _ in model.running()] == whole
    assert [name for name, _ in model.part(0, 12).running()] == whole
    assert [name for part in parts(model, 5, 9) for name, _ in part.running()] == [
        *("0", "1", "2.0", "2.1", "2.2.0", "2.2.1", "2.2.2", "2.3", "3", "4", "6")
    ]


def test_a_part_of_a_part():
    model = nested()
    part = model.part(2, 9).part(1, 5)
    assert [unit.name for unit in part.units()] == ["2.1", "2.2.0", "2.2.1", "2.2.2"]
    assert [name for name, _ in part.running()] == ["2.1", "2.2.0+1", "2.2.2"]
    assert [name for name, _ in part.named_parameters()] == [
        *("2.2.0.weight", "2.2.0.bias", "2.2.2.weight", "2.2.2.bias")
    ]


def test_units_can_be_computed_again():
    shape, make = MODELS["attention"]
    expected = Microbatches(lambda: [make()], samples(shape)).run(PLAIN)

    def stages():
        units = [unit._replace(layer=Recompute(unit.layer)) for unit in make().units()]
        return [Part(units[:3]), Part(units[3:])]

    assert_same_bits(Microbatches(stages, samples(shape)).run("in flight"), expected)


def test_a_subclass_may_do_something_else_between_its_layers():
    class Doubled(Sequential):
        def forward(self, x, ctx):
            return 2 * super().forward(x, ctx)

    with pytest.raises(UserError, match="Doubled has a forward of its own, so it cannot be cut into parts"):
        Doubled(ReLU(), ReLU()).part(0, 1)
    assert [unit.name for unit in Sequential(ReLU(), Doubled(ReLU(), ReLU())).units()] == ["0", "1"]


def test_who_needs_dx():
    """The first layer with parameters needs none, so a stage that begins with it sends no gradient."""
    model = models.build("mlp:widths=8", (3, 2), 5)
    assert [part.needs_dx for part in parts(model, 1, 2, 3)] == [False, False, True, True]
    assert not model.part(0, 4).needs_dx


@pytest.mark.parametrize(("first", "stop"), [(2, 1), (-1, 2), (0, 13)])
def test_no_such_part(first, stop):
    with pytest.raises(ValueError, match=rf"no part from {first} up to {stop} of 12 units"):
        nested().part(first, stop)
