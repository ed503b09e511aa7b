"""Stages that keep less: the bits of stages that keep all, with several microbatches in flight."""

from itertools import pairwise

import numpy as np
import pytest

from mpitrain import models
from mpitrain.layers import (
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    Part,
    Recompute,
    ReLU,
    Residual,
    Sequential,
)
from mpitrain.parallel.pipeline.demand import stage_demands
from mpitrain.parallel.pipeline.recompute import recomputed
from mpitrain.parallel.pipeline.tables import RECOMPUTED
from mpitrain.pipelines import find, make_program
from tests.microbatches import ORDERS, PLAIN, Microbatches, assert_same_bits
from tests.unit.test_pipeline_measure import nested, samples, transformer


def images():
    """Dropout and batch normalization inside of blocks and between them."""

    def block():
        body = Sequential(Conv2d(3, 3, 3, padding=1), BatchNorm2d(3), ReLU(), Dropout(0.3), Conv2d(3, 3, 1))
        return Residual(body, activation=ReLU())

    return models.prepare(
        Sequential(
            Flatten(),
            Linear(2 * 12, 4 * 12),
            Unflatten(),
            block(),
            BatchNorm2d(3),
            Dropout(0.2),
            block(),
            Sequential(block(), Flatten()),
            Linear(48, 4),
        )
    )


class Unflatten(ReLU):
    """(N, 48) -> (N, 4, 4, 3)."""

    def forward(self, x, ctx):
        return x.reshape(len(x), 4, 4, 3)

    def backward(self, dy, ctx):
        return dy.reshape(len(dy), 48)


MODELS = {
    "images": ((2, 12), images),
    "resnet8": ((8, 8, 3), lambda: models.build("resnet8", (8, 8, 3), 5)),
    "transformer": ("ids", transformer),
    "nested": ((3, 2), nested),
}


def xs_of(name):
    shape, _ = MODELS[name]
    rng = np.random.default_rng(0)
    sizes = (4, 0, 3)
    if shape == "ids":
        return [rng.integers(0, 9, (n, 5)) for n in sizes]
    return [rng.standard_normal((n, *shape)).astype(np.float32) for n in sizes]


def stages(model, cuts, how):
    units = model.units()
    edges = [0, *cuts, len(units)]
    return [recomputed(units[first:stop], how) for first, stop in pairwise(edges)]


def without_dx(found):
    """Leave out the gradient of the samples, which is empty."""
    assert all(not array.size for name, array in found.items() if name[0] == "dx")
    return {name: array for name, array in found.items() if name[0] != "dx"}


@pytest.mark.parametrize("order", [PLAIN, *ORDERS])
@pytest.mark.parametrize("how", RECOMPUTED)
@pytest.mark.parametrize("name", MODELS)
def test_same_bits(name, how, order):
    """Results, gradients and running statistics, over two steps, with the dw put off or not."""
    make = MODELS[name][1]
    number = len(make().units())
    expected = without_dx(Microbatches(lambda: [make()], xs_of(name)).run(PLAIN))
    for cuts in ((), (number // 2,), (1, 2, number - 1)):
        run = Microbatches(lambda cuts=cuts: stages(make(), cuts, how), xs_of(name))
        assert_same_bits(without_dx(run.run(order)), expected, f"{name}, {how}, {order}, cut at {cuts}")


@pytest.mark.parametrize("how", ["blocks", "stage"])
@pytest.mark.parametrize("name", MODELS)
def test_it_does_not_show_in_names_and_in_dx(name, how):
    make = MODELS[name][1]
    number = len(make().units())
    for cuts in ((), (1,), (number // 2,)):
        for plain, made in zip(stages(make(), cuts, "off"), stages(make(), cuts, how)):
            for kind in ("named_parameters", "named_states", "running"):
                assert [n for n, _ in getattr(plain, kind)()] == [n for n, _ in getattr(made, kind)()]
            assert made.needs_dx == plain.needs_dx


def test_what_is_computed_again():
    units = images().units()
    assert all(isinstance(recomputed(units[i:], "off"), Part) for i in range(len(units)))
    kinds = [type(layer) for layer in recomputed(units, "blocks")]
    assert [i for i, kind in enumerate(kinds) if kind is Recompute] == [3, 6, 7]
    assert [unit.name for unit in recomputed(units, "blocks").units()] == [unit.name for unit in units]
    assert isinstance(recomputed(units, "stage"), Recompute)
    assert isinstance(recomputed(units[:1], "stage"), Part), "a stage without backward"
    already = Sequential(Recompute(Residual(Linear(3, 3))))
    assert recomputed(already.units(), "blocks")[0] is already[0], "no second time"


@pytest.mark.parametrize("how", ["blocks", "stage"])
def test_a_microbatch_in_flight_keeps_less(how):
    kept = {}
    for each in ("off", how):
        run = Microbatches(
            lambda each=each: stages(models.build("resnet8", (8, 8, 3), 5), (4,), each), xs_of("resnet8")
        )
        run.run("in flight")
        kept[each] = run.contexts[1].num_bytes + run.contexts[2].num_bytes
    assert kept[how] < 0.6 * kept["off"]


@pytest.mark.parametrize("name", ["1f1b", "gpipe", "zb_h1"])
def test_second_forwards_are_those_that_demands_tell(name):
    """Each stage runs the tasks of its rank."""

    class Counting(Layer):
        calls = 0

        def forward(self, x, ctx):
            self.calls += 1
            return x

        def backward(self, dy, ctx):
            return dy

    program = make_program(find(name), 3, 4)
    for stage, demand in enumerate(stage_demands(program)):
        layer = Counting()
        order = " ".join(f"{task.kind}{task.microbatch}" for task in program.tasks[demand.rank])
        run = Microbatches(
            lambda layer=layer: [recomputed(Sequential(layer).units(), "stage")], [samples("mlp", 2)] * 4
        )
        run.run(order, steps=1)
        assert layer.calls == 4 + 4 * demand.again, f"stage {stage}: {order}"
