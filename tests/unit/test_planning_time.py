"""Time of plans: products, steps of schedules, messages, and the cut into stages."""

import dataclasses
import random

import numpy as np
import pytest

from mpitrain.collectives import find
from mpitrain.collectives.price import Calibration, price
from mpitrain.planning import PRECISIONS, Level, Model, Product, Strategy, Unit
from mpitrain.planning.compute import Compute, Measured, Times
from mpitrain.planning.messages import Messages
from mpitrain.planning.placement import Placed, place
from mpitrain.planning.schedules import exact_step, quick_step
from mpitrain.planning.stages import cut_evenly
from tests.plans import FLAT, MACHINE, estimators


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


def test_measured_lines_go_through_both_points():
    rng = np.random.default_rng(3)
    low, high = (Times(*np.sort(rng.random(3))) for _ in range(2))
    found = Measured.through((2, low), (6, Times(*(a + b for a, b in zip(low, high, strict=True)))))
    assert found.at(6) == pytest.approx(Times(*(a + b for a, b in zip(low, high, strict=True))))
