"""Measured costs of units: shapes, memory and times, and a model that is left as it was."""

import time
from itertools import pairwise

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.device import CPU
from mpitrain.errors import UserError
from mpitrain.layers import (
    GELU,
    BatchNorm2d,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    Recompute,
    ReLU,
    Residual,
    Sequential,
)
from mpitrain.losses import MSE, SoftmaxCrossEntropy
from mpitrain.parallel.pipeline.cut import cut_stages, make_cut
from mpitrain.parallel.pipeline.demand import StageDemand
from mpitrain.parallel.pipeline.measure import measure_units
from mpitrain.parallel.pipeline.recompute import recomputed
from mpitrain.parallel.pipeline.tables import RECOMPUTED
from tests.microbatches import Microbatches, assert_same_bits


def transformer():
    def block():
        attention = Residual(Sequential(LayerNorm(8), MultiHeadAttention(8, 2, causal=True)))
        mlp = Residual(Sequential(LayerNorm(8), Linear(8, 16), GELU(), Linear(16, 8), Dropout(0.2)))
        return Sequential(attention, mlp)

    return models.prepare(Sequential(Embedding(9, 8), Dropout(0.1), block(), block(), LayerNorm(8), Linear(8, 9)))


def nested():
    return models.prepare(Sequential(Flatten(), Sequential(Linear(6, 8), ReLU()), Recompute(Linear(8, 5)), ReLU()))


MODELS = {
    "mlp": ((8, 2), lambda: models.build("mlp:widths=8+9+7,activation=gelu,dropout=0.3", (8, 2), 5)),
    "lenet": ((12, 12, 1), lambda: models.build("lenet", (12, 12, 1), 5)),
    "convnet": ((8, 8, 1), lambda: models.build("convnet", (8, 8, 1), 5)),
    "resnet8": ((8, 8, 3), lambda: models.build("resnet8", (8, 8, 3), 5)),
    "resnet20": ((8, 8, 3), lambda: models.build("resnet20", (8, 8, 3), 5)),
    "transformer": ((5,), transformer),
    "nested": ((3, 2), nested),
}


def measure(name, num_samples=3, **options):
    shape, make = MODELS[name]
    options.setdefault("seconds", 0)
    dtype = np.int64 if name == "transformer" else np.float32
    return measure_units(make(), shape, num_samples, dtype=dtype, **options)


def samples(name, num_samples):
    shape, _ = MODELS[name]
    rng = np.random.default_rng(0)
    if name == "transformer":
        return rng.integers(0, 9, (num_samples, *shape))
    return rng.standard_normal((num_samples, *shape)).astype(np.float32)


@pytest.mark.parametrize("num_samples", [0, 1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_every_unit(name, num_samples):
    model = MODELS[name][1]()
    found = measure(name, num_samples)
    assert [cost.name for cost in found] == [unit.name for unit in model.units()]
    assert sum(cost.num_parameters for cost in found) == Arena(model).num_parameters
    y = model.forward(samples(name, num_samples), Context())
    assert found[-1].output_shape == y.shape[1:]
    for cost, unit in zip(found, model.units()):
        assert min(cost.forward, cost.dx, cost.dw, cost.kept_bytes, cost.backward_bytes) >= 0
        assert cost.output_bytes == 4 * num_samples * np.prod(cost.output_shape)
        if not any(unit.layer.named_parameters()):
            assert cost.dw == 0
    first = next(i for i, cost in enumerate(found) if cost.num_parameters)
    assert all(cost.dx == cost.dw == 0 for cost in found[:first]), "backward ends at the first weights"
    assert found[first].dx == 0
    assert found[first].dw > 0
    assert all(cost.forward > 0 for cost in found if cost.num_parameters)


def test_times_are_those_of_the_work():
    """A layer that sleeps: 4 ms forward, 8 ms for dx, 12 ms for dw."""

    class Slow(Layer):
        def __init__(self):
            self.weight = LayerNorm(4).weight

        def forward(self, x, ctx):
            time.sleep(0.004)
            return np.multiply(x, self.weight.data, out=ctx.empty(self, "y", x.shape))

        def backward(self, dy, ctx):
            ctx.later.append(self.put)
            time.sleep(0.008)
            return dy

        def put(self):
            time.sleep(0.012)
            self.weight.written()

    first, _, third = measure_units(models.prepare(Sequential(Slow(), ReLU(), Slow())), (4,), 2, seconds=0.2)
    assert (first.dx, first.num_parameters) == (0, 4)
    for found, least in ((first.forward, 4), (first.dw, 12), (third.forward, 4), (third.dx, 8), (third.dw, 12)):
        assert least <= 1e3 * found < 4 * least + 8


def test_a_budget_is_kept_and_each_unit_runs_twice():
    class Counting(ReLU):
        calls = 0

        def forward(self, x, ctx):
            Counting.calls += 1
            time.sleep(0.002)
            return x

        def backward(self, dy, ctx):
            return dy

    model = Sequential(*(Counting() for _ in range(4)))
    measure_units(model, (3,), 1, seconds=0)
    assert Counting.calls == 4 * 2
    begin = time.perf_counter()
    measure_units(model, (3,), 1, seconds=0.1)
    assert 16 < Counting.calls - 8 <= 4 * 26
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize("name", MODELS)
def test_memory_is_that_of_a_microbatch_in_flight(name):
    """All units together keep what the whole model keeps, fused layers included."""
    found = measure(name, 4)
    model = MODELS[name][1]()
    Arena(model)
    first = Context()
    ctx = Context(share=first)
    model.forward(samples(name, 4), ctx)
    assert sum(cost.kept_bytes for cost in found) == ctx.num_bytes


def test_fused_neighbors_are_timed_as_they_run():
    """A ReLU after a Linear keeps nothing of its own, and without fusing it keeps its output."""
    for fuse, kept in ((True, 0), (False, 4 * 3 * 5)):
        found = measure_units(models.prepare(Sequential(Linear(4, 5), ReLU(), fuse=fuse)), (4,), 3, seconds=0)
        assert [cost.kept_bytes for cost in found] == [4 * 3 * 5, kept]
        assert [cost.output_bytes for cost in found] == [4 * 3 * 5, 4 * 3 * 5]
        assert [cost.num_parameters for cost in found] == [25, 0]
        assert (found[1].apart is not None) == fuse
    assert measure_units(Sequential(Linear(4, 5), ReLU()), (4,), 3, seconds=0)[1].apart.kept_bytes == 4 * 3 * 5


@pytest.mark.parametrize(("order", "late"), [("in flight", 0), ("dw late", 2), ("dw at the end", 3)])
@pytest.mark.parametrize("how", RECOMPUTED)
@pytest.mark.parametrize("name", [name for name in MODELS if name != "nested"])
def test_memory_of_stages_is_what_they_take(name, how, order, late):
    """Exactly, also where a cut parts fused neighbors, but for blocks of several shapes (see ``Tables.num_bytes``)."""
    costs, units = measure(name, 4), MODELS[name][1]().units()
    cuts = [len(units) // 3, 2 * len(units) // 3]
    cut = make_cut(costs, [StageDemand(rank, 3, late) for rank in range(3)], cuts, recompute=how)
    x = samples(name, 4)
    for stage, (first, stop) in enumerate(pairwise([0, *cuts, len(units)])):
        model = recomputed(units[first:stop], how)
        run = Microbatches(lambda model=model: [model], [x] * 3)
        run.run(order)
        taken = sum(ctx.num_bytes for ctx in run.contexts)
        weights, received = 3 * 4 * cut.parameters[stage], 3 * x.nbytes * (stage > 0)
        found = cut.num_bytes[stage] - weights - received
        assert found <= taken
        assert found == taken or (how == "blocks" and found > 0.85 * taken), f"stage {stage}"
        x = model.forward(x, Context()).copy()


def test_blocks_are_known():
    assert [cost.is_block for cost in measure("nested")] == [False] * 5
    assert [cost.is_block for cost in measure("transformer")] == [False, False, *[True] * 4, False, False]


@pytest.mark.parametrize("name", MODELS)
def test_a_later_arena_has_the_same_bits(name):
    shape, make = MODELS[name]
    xs = [samples(name, n) for n in (4, 0, 3)]
    expected = Microbatches(lambda: [make()], xs).run()

    def measured():
        model = make()
        measure_units(model, shape, 3, dtype=xs[0].dtype, seconds=0)
        return [model]

    run = Microbatches(measured, xs)
    assert_same_bits(run.run(), expected)


@pytest.mark.parametrize("name", MODELS)
def test_a_bound_model_stays_bound(name):
    """In the middle of a step: with half of its gradients, and running statistics of its own."""
    shape, make = MODELS[name]
    xs = [samples(name, n) for n in (4, 3)]

    def run(measures):
        model = make()
        arena = Arena(model, seed=1)
        arena.begin_step(2)
        ready = []
        arena.on_ready = ready.append
        ctx = Context()
        for x in xs:
            y = model.forward(x, ctx)
            model.backward(np.ones_like(y), ctx)
            if measures:
                measure_units(model, shape, 3, dtype=x.dtype, seconds=0)
        assert len(ready) == len(arena.parameters)
        return {"gradients": arena.gradients, "states": arena.states, "values": arena.values}

    assert_same_bits(run(True), run(False))


def test_nothing_is_sent_and_an_error_restores_too():
    def refuse(array):
        raise AssertionError("a collective")

    norm = BatchNorm2d(3)
    norm.sum_over_ranks = refuse
    model = models.prepare(Sequential(norm, ReLU(), Flatten(), Linear(12, 8), MultiHeadAttention(8, 2)))
    data = norm.weight.data
    with pytest.raises(UserError, match=r"expects \(N, T, 8\)"):
        measure_units(model, (2, 2, 3), 2, seconds=0)
    assert norm.sum_over_ranks is refuse
    assert norm.weight.data is data


def test_the_loss_is_counted_with_the_last_unit():
    plain = measure("mlp", 64)
    targets = np.zeros(64, np.int64)
    found = measure("mlp", 64, loss=(SoftmaxCrossEntropy(), targets))
    assert found[-1].kept_bytes >= plain[-1].kept_bytes + 4 * 64 * 5
    assert [cost.kept_bytes for cost in found[:-1]] == [cost.kept_bytes for cost in plain[:-1]]

    class Slow(MSE):
        def forward(self, outputs, targets, ctx):
            time.sleep(0.02)
            return super().forward(outputs, targets, ctx)

        def backward(self, ctx):
            time.sleep(0.03)
            return super().backward(ctx)

    (_, last) = measure_units(
        Sequential(ReLU(), ReLU()), (2,), 4, loss=(Slow(), np.zeros((4, 2), np.float32)), seconds=0
    )
    assert last.forward > 0.02
    assert last.dx > 0.03


def test_ids_lie_in_every_embedding():
    model = models.prepare(Sequential(Embedding(2, 3), Linear(3, 2)))
    assert measure_units(model, (50,), 20, dtype=np.int32, seconds=0)[0].output_shape == (50, 3)


def test_a_large_model_is_measured_unit_by_unit():
    """The most memory at a time is that of one unit and its neighbor's weights, not that of all."""
    import tracemalloc

    model = models.prepare(Sequential(*(layer for _ in range(12) for layer in (Linear(256, 256), ReLU()))))
    tracemalloc.start()
    measure_units(model, (256,), 1, seconds=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    weights = 4 * 256 * 256
    assert peak < 8 * weights < 2 * 12 * weights


def test_measured_units_can_be_cut():
    found = cut_stages(measure("resnet20", 2), [StageDemand(rank, 4 - rank) for rank in range(4)], 10**9)
    assert len(found.starts) == 4
    assert sum(found.parameters) == Arena(MODELS["resnet20"][1]()).num_parameters


def test_a_model_that_cannot_be_cut():
    with pytest.raises(UserError, match="only a Sequential can be cut into stages"):
        measure_units(Residual(Linear(3, 3)), (3,), 1, device=CPU)


def test_a_model_of_tokens_needs_no_dtype():
    model = models.build("gpt:size=tiny,depth=2", (6,), 11)
    assert [cost.output_shape for cost in measure_units(model, (6,), 2, seconds=0)] == [(6, 128)] * 4 + [(6, 11)]
