"""Plans: memory and time against cases computed by hand, the search at 4,096 ranks, machines in files."""

import dataclasses
import math
import random
import time

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.collectives import find
from mpitrain.collectives.price import Calibration, price
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import Layer, Linear, Residual, Sequential
from mpitrain.layers.embedding import sample_dtype
from mpitrain.models import Codes, build
from mpitrain.models.outline import describe
from mpitrain.parallel.pipeline.measure import measure_units, random_samples
from mpitrain.planning import (
    MACHINES,
    PRECISIONS,
    Estimator,
    Level,
    Machine,
    Model,
    Product,
    Speed,
    Strategy,
    Unit,
    Wish,
    find_machine,
    read_machine,
    search,
)
from mpitrain.planning.changes import find_changes
from mpitrain.planning.compute import Compute, Measured, Times
from mpitrain.planning.estimate import Work
from mpitrain.planning.memory import kept_elements, rank_memory, zero
from mpitrain.planning.messages import Messages
from mpitrain.planning.placement import Placed, place
from mpitrain.planning.say import WIDTH, say_page, to_tree
from mpitrain.planning.schedules import exact_held, exact_step, quick_held, quick_step
from mpitrain.planning.search import _variants, divisors, meshes_of, strategies
from mpitrain.planning.stages import cut_evenly

MIXED = PRECISIONS["mixed"]
NODE = Level("node", 8, 2e-6, 100e9, 100e9)
NETWORK = Level("network", 0, 5e-6, 10e9, 10e9)
MACHINE = Machine(
    "two levels",
    {"fp32": Speed(2e12, 1e12), "bf16": Speed(4e12, 2e12)},
    16e9,
    1e12,
    (NODE, NETWORK),
    half=0.0,
    call=0.0,
)
FLAT = dataclasses.replace(MACHINE, name="one level", levels=(Level("network", 0, 0.0, 1e9, 1e9),), overlap=0.0)


def korthikanti(s, h, a, vocabulary=51200):
    """A block with the activations of the paper, in elements of 16 bits: s h (34 + 5 a s / h) bytes for a sample.

    Of the 34, 10 are outside of the products (norms, dropout, inputs) and 24 inside, as is the part of attention.
    """
    return Unit(
        "block",
        products=(Product(s, h, h),),
        kept=10 * s * h / 2,
        kept_cut=(24 * s * h + 5 * a * s * s) / 2,
        output=s * h,
        heads=a,
        length=s,
    )


def gpt3(**more):
    model = build("gpt:depth=96,width=12288,heads=96", (2048,), 50257, codes=Codes(50257))
    return describe(model, (2048,), "gpt3", tokens=True, **more)


def gpt(size="gpt2", tokens=1024):
    return describe(build(f"gpt:size={size}", (tokens,), 50257, codes=Codes(50257)), (tokens,), size, tokens=True)


def estimators(model, machine, batch, precision="fp32", slots=2.0):
    work = Work(batch, PRECISIONS[precision], slots)
    return Estimator(model, machine, work), Estimator(model, machine, work, exact=True)


def some_units(rng, number):
    kinds = [
        Unit(
            "",
            products=(Product(rng.randint(1, 9), rng.randint(8, 64), rng.randint(8, 64), cut="outputs"),),
            traffic=rng.randint(1, 99),
            kept=rng.randint(1, 99),
            kept_cut=rng.randint(1, 99),
            in_turn=rng.randint(1, 99),
            in_turn_cut=rng.randint(1, 9),
            output=rng.randint(1, 99),
            parameters=rng.randint(1, 999),
            parameters_cut=rng.randint(1, 999),
            chunk_bytes=rng.randint(0, 50),
            chunk_limit=100,
            sums=rng.randint(0, 2),
            sums_back=rng.randint(0, 2),
            summed=rng.randint(1, 9),
            turned=rng.randint(0, 9),
            length=rng.choice([0, 64]),
            is_block=rng.random() < 0.5,
        )
        for _ in range(3)
    ]
    return tuple(dataclasses.replace(rng.choice(kinds), name=str(place)) for place in range(number))


# memory


def test_zero_stages_of_the_paper():
    """Rajbhandari et al. 2020, figure 1: 7.5 billion parameters on 64 ranks."""
    stages = [zero(7.5e9, MIXED, 2, stage, 64).all / 1e9 for stage in range(4)]
    assert stages == pytest.approx([120, 31.4, 16.6, 1.88], rel=0.003)


@pytest.mark.parametrize("tensor", [1, 2, 8])
def test_activations_of_the_paper(tensor):
    """Korthikanti et al. 2022, table 2 with sequence parallelism: s b h / t (34 + 5 a s / h) bytes a layer."""
    s, h, a, b = 2048, 12288, 96, 1
    unit = korthikanti(s, h, a)
    assert 2 * b * kept_elements(unit, Strategy(tensor=tensor, sequence=True)) == pytest.approx(
        s * b * h / tensor * (34 + 5 * a * s / h)
    )


def test_activations_outside_of_products_stay_whole_without_sequence_parallelism():
    """The table's line without sequence parallelism: s b h (10 + 24 / t + 5 a s / (h t))."""
    s, h, a, t = 2048, 12288, 96, 8
    unit = korthikanti(s, h, a)
    assert 2 * kept_elements(unit, Strategy(tensor=t)) == pytest.approx(s * h * (10 + 24 / t + 5 * a * s / (h * t)))


def test_first_stage_of_1f1b_holds_as_many_microbatches_as_there_are_ranks():
    """Korthikanti et al. 2022, section 4.2.3: L / p layers of p microbatches are as much as all L layers of one."""
    s, h, a = 2048, 1024, 16
    units = tuple(dataclasses.replace(korthikanti(s, h, a), name=str(i)) for i in range(24))
    quick, exact = estimators(Model("m", units), MACHINE, 64, "mixed")
    for estimator in (quick, exact):
        found = estimator.estimate(Strategy(pipe=4, microbatches=8))
        whole = 24 * s * h * (34 + 5 * a * s / h) * 8  # 64 / 8 samples in a microbatch
        assert found.heaviest == 0
        assert found.memory.activations == pytest.approx(whole)  # samples lie with the loader


@pytest.mark.parametrize("seed", range(30))
def test_memory_of_all_ranks_at_once_is_that_of_each(seed):
    rng = random.Random(seed)
    pipe, chunks = rng.choice([(1, 1), (2, 1), (4, 1), (2, 2), (3, 2)])
    strategy = Strategy(
        data=rng.choice([1, 2, 4]),
        pipe=pipe,
        tensor=rng.choice([1, 2]),
        context=rng.choice([1, 2]),
        schedule="interleaved" if chunks > 1 else rng.choice(["1f1b", "zb_h1"]),
        chunks=chunks,
        microbatches=pipe * rng.choice([1, 2]),
        shard=rng.choice([0, 1, 2, 3]),
        again=rng.choice(["off", "blocks", "stage"]),
        sequence=rng.choice([True, False]),
    )
    units = some_units(rng, 13)
    _, exact = estimators(Model("m", units), MACHINE, 64)
    found = exact.estimate(strategy)
    stops = [*found.starts[1:], len(units)]
    spans = list(zip(found.starts, stops, strict=True))
    held = exact_held(strategy.schedule, chunks, pipe, strategy.microbatches) if pipe > 1 else None
    totals = []
    for rank in range(pipe):
        mine = range(rank, len(spans), pipe)
        totals.append(
            rank_memory(
                [units[slice(*spans[stage])] for stage in mine],
                [units[spans[stage][0] - 1].output if stage else 0.0 for stage in mine],
                strategy,
                found.samples,
                [held.held[stage] if held else 1.0 for stage in mine],
                [held.late[stage] if held else 0.0 for stage in mine],
                PRECISIONS["fp32"],
                2.0,
            ).all
        )
    assert found.memory.all == pytest.approx(max(totals)), f"seed {seed}"
    assert found.heaviest == totals.index(max(totals))


def test_a_shared_table_counts_on_both_ends_of_a_pipeline():
    tied = gpt("tiny", 128)
    quick, _ = estimators(tied, MACHINE, 8, slots=0)
    assert quick.estimate(Strategy()).memory.weights == 4 * tied.parameters
    last = quick.estimate(Strategy(pipe=2, microbatches=2))
    assert last.starts == (0, 6)  # the head is alone
    assert last.memory.weights == 4 * 50257 * 128


@pytest.mark.parametrize(("chunks", "schedule"), [(1, "1f1b"), (1, "gpipe"), (1, "zb_h1"), (2, "interleaved")])
@pytest.mark.parametrize("m", [4, 8, 16])
def test_microbatches_held_by_formula_are_those_of_the_schedule(chunks, schedule, m):
    by_formula, counted = quick_held(schedule, chunks, 4, m), exact_held(schedule, chunks, 4, m)
    for rank in range(4):
        one, other = sum(by_formula.held[rank::4]), sum(counted.held[rank::4])
        assert 0.7 * other <= one <= 1.3 * other  # stages of a rank do not hold the most at the same time


# the model


def test_gpt3_has_the_parameters_and_operations_of_the_paper():
    """Narayanan et al. 2021, equation 3: 96 b s l h^2 (1 + s / (6 h) + V / (16 l h)) with recomputation, 3/4 without.

    Causal attention has half of the paper's products of attention.
    """
    model = gpt3()
    assert model.parameters == 174_604_259_328
    s, depth, h, v = 2048, 96, 12288, 50257
    operations = 72 * s * depth * h * h * (1 + s / (12 * h) + v / (12 * depth * h))
    assert model.flops == pytest.approx(operations, rel=1e-3)


def kept_by(model, shape, n):
    """Return the bytes that forward keeps for backward, as the layers have asked for them."""
    Arena(model, seed=0).begin_step()
    ctx = Context()
    model.forward(random_samples(model, (n, *shape), sample_dtype(model), 0), ctx)
    return ctx.num_bytes - ctx.loans.num_bytes + ctx.loans.used_bytes


@pytest.mark.parametrize(
    ("text", "shape", "outputs", "n"),
    [
        ("gpt:size=tiny", (128,), 5000, 16),
        ("gpt:size=tiny,dropout=0.1", (128,), 5000, 16),
        ("gpt:size=tiny,experts=4", (128,), 5000, 16),
        ("llama:size=tiny", (128,), 5000, 16),
        ("bert:size=tiny", (128,), 2, 16),
        ("vit:size=tiny,patch=8", (64, 64, 3), 10, 32),
        ("mlp:widths=512+512+512", (784,), 10, 256),
        ("resnet20", (32, 32, 3), 10, 32),
        ("resnet18", (64, 64, 3), 100, 16),
        ("convnet", (32, 32, 3), 10, 64),
        ("unet:depth=2,width=16", (32, 32, 3), 4, 16),
        ("lenet", (28, 28, 1), 10, 512),
    ],
)
def test_description_agrees_with_the_layers(text, shape, outputs, n):
    known = Codes(5000) if text[:3] in ("gpt", "lla", "ber") else None
    model = build(text, shape, outputs, codes=known)
    found = describe(model, shape, text, tokens=known is not None)
    parameters = {id(p): p.size for _, p in model.named_parameters()}
    assert found.parameters == sum(parameters.values())
    measured = measure_units(model, shape, 2, seconds=0.0)
    assert [unit.name for unit in found.units] == [cost.name for cost in measured]
    assert [unit.output for unit in found.units] == [math.prod(cost.output_shape) for cost in measured]
    body = model.part(0, len(model.units()) - 1)  # the last layer and the loss are computed in chunks, or small
    planned = 4 * n * sum(unit.kept + unit.kept_cut for unit in found.units[:-1])
    assert planned == pytest.approx(kept_by(body, shape, n), rel=0.05)


def test_a_layer_without_a_rule_runs_with_no_samples():
    class Twice(Layer):
        def __init__(self, size):
            self.inner = Linear(size, 2 * size)
            self.weight = self.inner.weight

        def forward(self, x, ctx):
            return self.inner.forward(x, ctx)

        def backward(self, dy, ctx):
            return self.inner.backward(dy, ctx)

    found = describe(Sequential(Residual(Linear(6, 6)), Twice(6)), (6,))
    assert found.units[1].output == 12
    with pytest.raises(UserError, match="cannot plan a Twice, which does not take samples of shape"):
        describe(Sequential(Twice(6)), (7,))


# time


def test_time_of_a_product_is_that_of_the_roofline():
    compute = Compute(MACHINE, PRECISIONS["fp32"])
    unit = Unit("u", products=(Product(1000, 1000, 1000),), traffic=1e6)
    found = compute.unit(unit, 2, Strategy())
    assert found.forward == pytest.approx(2 * 2 * 1e9 / 1e12 + 2 * 1e6 * 4 / 1e12)
    assert found.dw == pytest.approx(2 * 2 * 1e9 / 1e12)
    thin = Unit("u", products=(Product(1, 1000, 1000),))
    assert compute.unit(thin, 1, Strategy()).forward == pytest.approx(4 * (1e6 + 2000) / 1e12)  # bound by memory


def test_measured_times_are_scaled_by_the_roofline_where_a_unit_is_divided():
    unit = Unit("", products=(Product(1000, 1000, 1000, cut="outputs"),))
    measured = Measured(Times(0.0, 0.0, 0.0), Times(1.0, 2.0, 3.0))
    compute = Compute(MACHINE, PRECISIONS["fp32"], {unit: measured})
    assert compute.unit(unit, 4, Strategy()) == Times(4.0, 8.0, 12.0)
    assert compute.unit(unit, 4, Strategy(tensor=2)) == pytest.approx(Times(2.0, 4.0, 6.0))


def test_step_of_1f1b_with_equal_stages_is_the_textbook_bubble():
    stages = [Times(1.0, 1.0, 1.0)] * 4
    exact = exact_step("1f1b", 1, 4, 8, stages, (0.0, 0.0))
    assert exact == quick_step("1f1b", 1, 8, stages, 0.0) == 3 * (8 + 3)
    halves = [Times(0.5, 0.5, 0.5)] * 8
    interleaved = exact_step("interleaved", 2, 4, 8, halves, (0.0, 0.0))
    assert quick_step("interleaved", 2, 8, stages, 0.0) == interleaved == 24 + 3 * 3 / 2
    assert quick_step("zb_h1", 1, 8, stages, 0.0) == exact_step("zb_h1", 1, 4, 8, stages, (0.0, 0.0)) == 24 + 3


def test_long_steps_are_extrapolated():
    stages = [Times(1.0, 1.1, 0.9 + 0.01 * i) for i in range(8)]
    few = exact_step("1f1b", 1, 8, 400, stages, (0.01, 0.01))
    many = exact_step("1f1b", 1, 8, 1600, stages, (0.01, 0.01))
    slowest = max(one.all for one in stages)
    assert many - few == pytest.approx(1200 * slowest, rel=0.01)


def test_data_parallel_step_is_compute_and_a_ring():
    """Without overlap and latency: forward and backward, 2 (P - 1) / P n beta, and the update."""
    unit = Unit("u", products=(Product(1, 1000, 1000),), parameters=1e6)
    quick, exact = estimators(Model("m", (unit,)), FLAT, 64, slots=0)
    compute = 3 * 2 * 16 * 1e6 / 1e12
    update = 1e6 * 12 / 1e12
    for estimator in (quick, exact):
        found = estimator.estimate(Strategy(data=4))
        assert found.parts["gradients"] == pytest.approx(2 * 3 / 4 * 4e6 / 1e9, rel=0.02)
        assert found.seconds == pytest.approx(compute + found.parts["gradients"] + update, rel=0.05)
        assert sum(found.parts.values()) == pytest.approx(found.seconds)


def test_prices_are_those_of_the_collectives():
    machine = dataclasses.replace(FLAT, levels=(Level("network", 0, 2e-6, 1e9, 1e9),))
    found = Messages(machine, exact=True).seconds("all_reduce", Strategy(data=8), ["data"], 1 << 24)
    calibration = Calibration.line(2e-6, 1e-9, 3 / machine.bandwidth)
    names = ("ring", "recursive_doubling", "halving_doubling")
    assert found == pytest.approx(min(price(find(name), 8, 1 << 24, calibration).seconds for name in names), rel=0.05)


@pytest.mark.parametrize("kind", ["all_reduce", "reduce_scatter", "all_gather", "all_to_all"])
@pytest.mark.parametrize("strategy", [Strategy(data=8), Strategy(data=64), Strategy(data=8, tensor=8)])
def test_formula_and_schedules_agree_for_long_messages(kind, strategy):
    """The formula is the bound of an algorithm that uses all links, so no schedule is much faster."""
    quick, exact = Messages(MACHINE), Messages(MACHINE, exact=True)
    by_formula, by_schedule = (m.seconds(kind, strategy, ["data"], 1e9) for m in (quick, exact))
    assert 0.8 * by_formula < by_schedule < 2.5 * by_formula


def test_groups_lie_on_levels():
    strategy = Strategy(data=16, pipe=2, tensor=4)
    assert place(strategy, ["tensor"], MACHINE.levels) == Placed(4, (4, 4))
    assert place(strategy, ["pipe"], MACHINE.levels) == Placed(2, (2, 2))
    assert place(strategy, ["data"], MACHINE.levels) == Placed(16, (1, 16))
    assert place(Strategy(data=4, context=4), ["data", "context"], MACHINE.levels) == Placed(16, (8, 16))


# stages


@pytest.mark.parametrize("seed", range(20))
def test_cut_has_the_least_slowest_stage(seed):
    rng = random.Random(seed)
    costs = [rng.choice([0.0, 1.0, 2.0, 5.0]) + rng.random() for _ in range(rng.randint(3, 9))]
    stages = rng.randint(1, len(costs))

    def slowest(starts):
        return max(sum(costs[a:b]) for a, b in zip(starts, [*starts[1:], len(costs)], strict=True))

    def all_cuts(first, left):
        if left == 0:
            yield []
            return
        for start in range(first, len(costs) - left + 1):
            yield from ([start, *rest] for rest in all_cuts(start + 1, left - 1))

    best = min(slowest([0, *rest]) for rest in all_cuts(1, stages - 1))
    found = cut_evenly(costs, stages)
    assert len(found) == stages
    assert sorted(set(found)) == found
    assert slowest(found) == pytest.approx(best, rel=1e-5), f"seed {seed}"


# search


def test_4096_ranks_take_seconds():
    begin = time.process_time()
    quick, exact = estimators(gpt3(), find_machine("dgx-h100"), 1536, "mixed")
    found = search(quick, exact, 4096)
    changes = find_changes(quick, exact, found)
    assert time.process_time() - begin < 10
    best = found.best[0]
    assert best.strategy.ranks == 4096
    assert best.memory.all <= quick.machine.memory
    assert [one.seconds for one in found.best] == sorted(one.seconds for one in found.best) or found.best
    peak = 1536 * exact.model.flops / best.seconds / 4096 / 989e12
    assert 0.25 < peak < 0.65  # of the peak: the range that such clusters report
    lines = say_page(exact, found, changes, 1.0)
    assert all(len(line) <= WIDTH for line in lines)
    assert lines[0].startswith("gpt3: 175 G parameters, on 4,096 ranks of DGX H100")
    assert to_tree(exact, found, changes)["best"][0]["mesh"] == best.strategy.mesh_text


def test_search_finds_the_best_of_all():
    """Every strategy of a small case, followed exactly, is no faster than the one that is found by more than 2%."""
    quick, exact = estimators(gpt("tiny", 128), MACHINE, 16)
    found = search(quick, exact, 8, Wish(agains=("off",)))
    wish = Wish(agains=("off",))
    every = [
        exact.estimate(dataclasses.replace(one, shard=shard, again=again))
        for one in strategies(quick, 8, wish)
        for shard, again in _variants(one, wish)
    ]
    least = min(one.seconds for one in every if one.memory.all <= MACHINE.memory)
    assert found.best[0].seconds <= 1.02 * least


def test_axes_are_bounded_by_the_model():
    quick, _ = estimators(gpt("gpt2"), MACHINE, 4096)
    meshes = list(meshes_of(quick, 4096, Wish()))
    assert {mesh.tensor for mesh in meshes} == {1, 2, 4}  # 12 heads
    assert max(mesh.pipe for mesh in meshes) == 8  # 15 units
    assert {mesh.space for mesh in meshes} == {mesh.expert for mesh in meshes} == {1}
    assert all(mesh.ranks == 4096 for mesh in meshes)
    assert divisors(36) == [1, 2, 3, 4, 6, 9, 12, 18, 36]


def test_a_fixed_axis_stays():
    quick, exact = estimators(gpt("gpt2"), MACHINE, 64)
    found = search(quick, exact, 16, Wish(mesh={"tensor": 4}))
    assert {one.strategy.tensor for one in found.best} == {4}


def test_a_mesh_that_fits_nothing_says_the_nearest():
    small = dataclasses.replace(MACHINE, memory=1e9)
    quick, exact = estimators(gpt3(), small, 64)
    found = search(quick, exact, 16)
    assert not found.best
    assert found.leanest.memory.all > small.memory
    lines = say_page(exact, found, find_changes(quick, exact, found), 1.0)
    assert any("nothing fits into the 1 GB of a rank; the nearest needs" in line for line in lines)


def test_a_faster_mesh_that_does_not_fit_is_named():
    big = gpt("gpt2", 1024)
    quick, exact = estimators(big, MACHINE, 64)
    whole = search(quick, exact, 8)
    tight = dataclasses.replace(MACHINE, memory=whole.best[0].memory.all * 0.2)
    quick, exact = estimators(big, tight, 64)
    found = search(quick, exact, 8)
    assert found.best[0].seconds >= whole.best[0].seconds
    assert found.faster is not None
    assert found.faster.seconds < found.best[0].seconds
    text = "\n".join(say_page(exact, found, find_changes(quick, exact, found), 1.0))
    assert "faster, but does not fit:" in text


def test_slow_links_change_the_choice():
    slow = dataclasses.replace(NETWORK, bandwidth=1e9, alone=1e9)
    quick, exact = estimators(gpt("gpt2"), dataclasses.replace(MACHINE, levels=(NODE, slow)), 64)
    found = search(quick, exact, 64)
    changes = [change for change in find_changes(quick, exact, found) if change.fact == "bandwidth"]
    assert changes
    for change in changes:
        factor = change.value / slow.bandwidth
        there = quick.machine.scaled(bandwidth=factor * (1.1 if factor > 1 else 0.9))
        work = Work(64, PRECISIONS["fp32"])
        other = search(Estimator(quick.model, there, work), Estimator(quick.model, there, work, exact=True), 64)
        assert other.best[0].strategy.mesh != found.best[0].strategy.mesh


# machines


@pytest.mark.parametrize("name", MACHINES)
def test_machines_can_be_read(name):
    machine = find_machine(name)
    assert machine.levels[-1].bandwidth > 0
    assert machine.speed("fp32").achieved <= machine.speed("fp32").peak


GOOD = """
memory = "16 GB"
bandwidth = 1e12
[speed.fp32]
peak = 2e12
achieved = 1e12
[[level]]
name = "node"
ranks = 8
latency = 1e-6
bandwidth = 1e11
[[level]]
name = "network"
latency = 1e-6
bandwidth = 1e10
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "", None),
        ("memory", "memroy", "memroy is no setting of a machine; did you mean 'memory'"),
        ('"16 GB"', '"many"', "memory is a number of bytes"),
        ("bandwidth = 1e12\n", "", "bandwidth is missing"),
        ("peak = 2e12", "peak = -1", "peak must be a positive number, not -1"),
        ("achieved = 1e12", "achieved = 4e12", "achieved is 4e[+]12, more than the peak"),
        ("[speed.fp32]", "[speed.fp23]", "speed.fp23 is no setting of a machine; did you mean 'fp32'"),
        ("ranks = 8", "", "ranks is missing; only the outermost level"),
        ('name = "network"', 'name = "network"\nranks = 12', "must be a multiple of the 8 within"),
        ("[[level]]", "[level]", "is not valid TOML"),
        ('memory = "16 GB"', "memory = 16e9\nmemory = 1", "is not valid TOML"),
        ("latency = 1e-6", "latency = true", "latency must be a positive number, not True"),
        ("latency = 1e-6", "latency = nan", "latency must be a positive number"),
        ('memory = "16 GB"', 'memory = "16 GB"\ndevice = "tpu"', "must be cpu or gpu"),
        ('memory = "16 GB"', 'memory = "16 GB"\noverlap = 2', "overlap is 2, but is a part, at most 1"),
        ('memory = "16 GB"', 'memory = "16 GB"\nshares_memory = 1', "must be true or false"),
    ],
)
def test_wrong_machines_get_one_sentence(tmp_path, old, new, message):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(old, new) if old else GOOD)
    if message is None:
        assert read_machine(path).name == "mine"
        return
    with pytest.raises(UserError, match=message) as error:
        read_machine(path)
    assert "\n" not in str(error.value).removesuffix("\n") or "TOML" in message


def test_unknown_machines_are_refused():
    with pytest.raises(UserError, match=r"there is no machine 'dgxh100' \(did you mean 'dgx-h100'\?\)"):
        find_machine("dgxh100")
    with pytest.raises(UserError, match=r"cannot read the machine none\.toml: No such file"):
        find_machine("none.toml")


def test_measured_lines_go_through_both_points():
    rng = np.random.default_rng(3)
    low, high = (Times(*np.sort(rng.random(3))) for _ in range(2))
    found = Measured.through((2, low), (6, Times(*(a + b for a, b in zip(low, high, strict=True)))))
    assert found.at(6) == pytest.approx(Times(*(a + b for a, b in zip(low, high, strict=True))))
