"""Cuts of a model into stages: the best one, its memory, its report, and stages chosen by hand."""

import time

import pytest

from mpitrain.errors import UserError
from mpitrain.layers import BatchNorm2d, Linear, ReLU, Residual, Sequential
from mpitrain.parallel.pipeline.cut import cut_stages, make_cut
from mpitrain.parallel.pipeline.demand import StageDemand, stage_demands
from mpitrain.parallel.pipeline.unit_cost import UnitCost
from mpitrain.parallel.pipeline.units import find_units, parse_stages
from mpitrain.pipelines import PIPELINES, find, make_program, simulate
from mpitrain.pipelines.price import predict


def units(*seconds, **common):
    return [UnitCost(str(i), forward=s / 4, dx=s / 4, dw=s / 2, **common) for i, s in enumerate(seconds)]


def stages(number, held=1):
    return [StageDemand(rank, held) for rank in range(number)]


def test_a_cut_by_hand():
    found = cut_stages(units(6, 2, 2, 1, 1, 7, 2), stages(3))
    assert found.starts == (0, 1, 5)
    assert found.stops == (1, 5, 7)
    assert found.seconds == (6, 6, 9)
    assert (found.forward, found.dx, found.dw) == ((1.5, 1.5, 2.25), (1.5, 1.5, 2.25), (3, 3, 4.5))


def test_ties_are_broken_by_even_times():
    """The last unit decides the slowest stage; the others could be 1 + 5 or 2 + 4, but are 3 + 3."""
    assert cut_stages(units(1, 1, 1, 1, 1, 1, 9), stages(3)).starts == (0, 3, 6)


def test_all_units_in_one_stage_and_one_in_each():
    costs = units(3, 1, 2)
    assert cut_stages(costs, stages(1)).starts == (0,)
    assert cut_stages(costs, stages(3)).starts == (0, 1, 2)
    assert cut_stages(units(0, 0, 0), stages(3)).seconds == (0, 0, 0)


def test_speed():
    """1000 units in 64 stages; without memory and with it."""
    costs = units(*(1 + i % 7 for i in range(1000)), num_parameters=1, output_bytes=1, kept_bytes=2)
    for memory in (None, 1e9):
        begin = time.process_time()
        assert len(cut_stages(costs, stages(64), memory).starts) == 64
        assert time.process_time() - begin < 4  # about 1 on a quiet machine


def test_report():
    found = cut_stages([*units(0.004, 0.002), UnitCost("2.0", dw=0.012), UnitCost("2.1")], stages(2))
    assert found.report() == (
        "stages: units 0-1 | 2.0-2.1; slowest is stage 1: 12 ms a microbatch, 33% more than the mean"
    )
    many = cut_stages(units(*[1.0] * 40), stages(40)).report()
    assert many.startswith("stages: units 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | ... | 32 | 33 ")
    assert many.endswith("1 s a microbatch, 0% more than the mean")


@pytest.mark.parametrize("slowness", [(1, 1, 1), (1, 3, 1), (0.25, 1, 2), (1, 1, 10)])
def test_a_slow_rank_has_less_of_the_model(slowness):
    """The best cut of all, by trying them; times of a stage are those on its rank."""
    seconds = [3, 1, 4, 1, 5, 9, 2, 6]
    demands = [StageDemand(rank, slowness=times) for rank, times in enumerate(slowness)]
    found = cut_stages(units(*seconds), demands)

    def slowest(one, two):
        parts = zip((seconds[:one], seconds[one:two], seconds[two:]), slowness)
        return max(sum(part) * times for part, times in parts)

    best = min(slowest(one, two) for one in range(1, 7) for two in range(one + 1, 8))
    assert max(found.seconds) == pytest.approx(best) == slowest(*found.starts[1:])
    assert found.slowness == tuple(times / min(slowness) for times in slowness)


def test_a_slow_rank_in_the_report():
    demands = [StageDemand(0), StageDemand(1, slowness=2.5)]
    text = cut_stages(units(1, 1, 1), demands).report()
    assert text.endswith("; times of the fastest rank that others need for the same work, by stage: 1 2.5")


def test_costs_price_the_schedule():
    program = make_program(find("interleaved"), 2, 3)
    found = cut_stages(units(4, 1, 1, 1, 1, 8, 2), stage_demands(program))
    assert found.ranks == (0, 1, 0, 1)
    durations = found.costs().durations(program)
    for own, times in zip(program.tasks, durations):
        for (kind, stage, _), seconds in zip(own, times):
            expected = found.forward[stage] if kind == "F" else found.dx[stage] + found.dw[stage]
            assert seconds == pytest.approx(expected)
    split = predict(find("zb_h1"), 4, 5, found.costs(lambda *_: (0.1, 0.2)))
    assert split.in_seconds
    assert sum(split.timeline.busy) == pytest.approx(5 * 18)


@pytest.mark.parametrize("name", [*PIPELINES])
def test_demands(name):
    """Ranks hold what the simulated timeline says, where they have one stage."""
    for size, m in ((1, 1), (2, 5), (4, 3), (4, 9)):
        program = make_program(find(name), size, m)
        found = stage_demands(program)
        assert [demand.rank for demand in found] == program.rank_of
        peaks = simulate(program).peaks
        held = [sum(d.held for d in found if d.rank == rank) for rank in range(size)]
        assert all(peak <= most for peak, most in zip(peaks, held))
        if program.num_stages == size:
            assert held == peaks
        assert all((demand.late > 0) == program.is_split for demand in found)


def test_who_computes_a_stage_again():
    """The last stage of 1F1B goes back at once, and with one microbatch all do."""
    again = {name: [d.again for d in stage_demands(make_program(find(name), 3, 4))] for name in ("1f1b", "gpipe")}
    assert again == {"1f1b": [1, 1, 0], "gpipe": [1, 1, 1]}
    assert [d.again for d in stage_demands(make_program(find("gpipe"), 2, 1))] == [0, 0]
    assert [d.again for d in stage_demands(make_program(find("zb_h1"), 3, 4))] == [1, 1, 1]
    assert [d.late for d in stage_demands(make_program(find("zb_h1"), 3, 4))] == [1, 2, 3]


COST = {"output_bytes": 10, "kept_bytes": 100, "backward_bytes": 7, "num_parameters": 5}


@pytest.mark.parametrize(
    ("demand", "recompute", "first", "second"),
    [
        # weights 3 units x 5 x 12 = 180, held x (received + kept), backward, computed again
        (StageDemand(0, 4), "off", 180 + 4 * 300 + 21, 180 + 4 * 310 + 21),
        (StageDemand(0, 4, 2), "off", 180 + 4 * 300 + 2 * 21, 180 + 4 * 310 + 2 * 21),
        # outputs of two blocks are kept, their dx is copied, one block has memory inside
        (StageDemand(0, 4), "blocks", 180 + 4 * 120 + (7 + 10) + 107, 180 + 4 * 130 + (7 + 20) + 107),
        (StageDemand(0, 4, 2), "blocks", 180 + 4 * 120 + 2 * (17 + 214) + 100, 180 + 4 * 130 + 2 * (27 + 214) + 100),
        (StageDemand(0, 4), "stage", 180 + 4 * 10 + 321, 180 + 4 * 20 + 10 + 321),
        (StageDemand(0, 4, 2), "stage", 180 + 4 * 10 + 2 * 321 + 300, 180 + 4 * 20 + 2 * (10 + 321) + 300),
    ],
)
def test_memory_of_a_stage(demand, recompute, first, second):
    costs = [UnitCost(str(i), is_block=i % 3 < 2, **COST) for i in range(6)]
    found = make_cut(costs, [demand, demand], [3], recompute=recompute)
    assert found.num_bytes == (first, second)
    assert found.rank_bytes == (first + second,)
    assert found.parameters == (15, 15)
    assert (
        make_cut(costs, [demand, demand], [3], slots=2.5).num_bytes[0] - 15 * 4 * 1.5
        == make_cut(costs, [demand, demand], [3]).num_bytes[0]
    )


def test_a_cut_between_fused_units_costs_more():
    """Unit 2 is almost free together with unit 1, and not alone."""
    alone = UnitCost("2", forward=2, dx=3, dw=0, kept_bytes=50, backward_bytes=7)
    costs = [*units(4, 4), UnitCost("2", kept_bytes=1, apart=alone), *units(3, 4.5)]
    found = make_cut(costs, stages(3, held=2), [1, 2])
    assert (found.forward[2], found.dx[2], found.dw[2]) == (2 + 7.5 / 4, 3 + 7.5 / 4, 7.5 / 2)
    assert found.num_bytes == (0, 0, 2 * 50 + 7)
    assert make_cut(costs, stages(3, held=2), [1, 3]).num_bytes == (0, 2 * 1, 0)
    assert cut_stages(costs, stages(2)).starts == (0, 3)
    assert cut_stages([*costs[:2], UnitCost("2"), *costs[3:]], stages(2)).starts == (0, 2)


def test_time_of_a_second_forward():
    costs = [UnitCost(str(i), forward=1, dx=2, dw=3, is_block=i == 0) for i in range(4)]
    demands = [StageDemand(0), StageDemand(1, again=0.25)]
    assert make_cut(costs, demands, [2]).seconds == (12, 12)
    assert make_cut(costs, demands, [2], recompute="blocks").dx == (5, 4)
    assert make_cut(costs, demands, [2], recompute="stage").dx == (6, 4.5)
    lighter = [StageDemand(0), StageDemand(1, again=0.0)]
    assert cut_stages(units(*[3.0] * 9), lighter, recompute="stage").starts == (0, 4)


def test_memory_moves_the_cut():
    """Unit 0 keeps so much that rank 0, which holds 4 microbatches, takes no other."""
    costs = [UnitCost("0", forward=1, kept_bytes=100), *units(*[1.0] * 5, kept_bytes=10)]
    demands = [StageDemand(0, 4), StageDemand(1, 2)]
    assert cut_stages(costs, demands).starts == (0, 3)
    assert cut_stages(costs, demands, 439).starts == (0, 1)
    assert cut_stages(costs, demands, 440).starts == (0, 2)


@pytest.mark.parametrize(
    ("cost", "options", "message"),
    [
        (
            {"kept_bytes": 1000},
            {},
            "no cut of 4 units into 2 stages was found that fits into 500 bytes for each rank: the leanest needs "
            "7.8 KiB, on rank 0 (units 0-1); smaller microbatches, recomputation or more stages would help",
        ),
        ({"kept_bytes": 1000}, {"recompute": "stage"}, "; smaller microbatches or more stages would help"),
        ({"num_parameters": 100}, {}, "needs 2.3 KiB, on rank 0 (units 0-1); more stages would help"),
    ],
)
def test_nothing_fits(cost, options, message):
    with pytest.raises(UserError) as error:
        cut_stages(units(1, 1, 1, 1, **cost), stages(2, held=4), 500, **options)
    assert str(error.value).endswith(message)


def test_several_stages_on_a_rank_share_its_memory():
    costs = [UnitCost(str(i), forward=1, num_parameters=n) for i, n in enumerate([9, 1, 1, 1, 9, 1, 1, 1])]
    demands = [StageDemand(stage % 2) for stage in range(4)]
    assert cut_stages(costs, demands).rank_bytes == (20 * 12, 4 * 12)
    found = cut_stages(costs, demands, 15 * 12)
    assert found.rank_bytes == (11 * 12, 13 * 12)
    assert found.seconds == (2, 3, 1, 2)
    with pytest.raises(UserError, match=r"rank \d \(units .* and .*\)"):
        cut_stages(costs, demands, 9 * 12)


def test_a_search_where_there_are_too_many_cuts():
    """64 units in 4 x 2 stages; at first rank 0 has the heavy ones of both its stages."""
    costs = [UnitCost(str(i), forward=1 + i % 3, num_parameters=90 if i in (3, 5, 35, 37) else 1) for i in range(64)]
    demands = [StageDemand(stage % 4) for stage in range(8)]
    free = cut_stages(costs, demands)
    assert max(free.rank_bytes) > 12 * 250
    found = cut_stages(costs, demands, 12 * 250)
    assert max(found.rank_bytes) <= 12 * 250
    assert max(free.seconds) <= max(found.seconds) < 1.5 * max(free.seconds)
    with pytest.raises(UserError, match="was found that fits"):
        cut_stages(costs, demands, 12 * 100)


def test_stages_by_hand():
    assert parse_stages(" 5, 9 ", 12, 3) == [5, 9]
    assert parse_stages("", 3, 1) == []
    assert parse_stages("1,2", 3, 3) == [1, 2]


@pytest.mark.parametrize(
    ("text", "num_units", "num_stages", "message"),
    [
        ("5,x", 12, 3, "stages are given by their first units, as 5,9, but 'x' is not the number of a unit"),
        ("5,,9", 12, 3, "stages are given by their first units, as 5,9, but '' is not the number of a unit"),
        ("-1", 12, 2, "stages are given by their first units, as 5,9, but '-1' is not the number of a unit"),
        ("²", 12, 2, "stages are given by their first units, as 5,9, but '²' is not the number of a unit"),
        ("9,5", 12, 3, "first units of stages ascend, but 5 comes after 9"),
        ("5,5", 12, 3, "first units of stages ascend, but 5 comes after 5"),
        ("0", 12, 2, "stages begin with one of the units 1 to 11 of the model, but not with unit 0"),
        ("5,12", 12, 3, "stages begin with one of the units 1 to 11 of the model, but not with unit 12"),
        ("1", 1, 1, "the model has one unit, so no stage begins with unit 1"),
        ("5", 12, 3, "3 stages, of which stage 0 begins with unit 0, are given by 2 first units, but '5' has 1"),
        ("5,9", 12, 2, "2 stages, of which stage 0 begins with unit 0, are given by 1 first unit, but '5,9' has 2"),
        ("1,2", 6, 8, "the model has 6 units, which cannot be cut into 8 stages"),
    ],
)
def test_wrong_stages(text, num_units, num_stages, message):
    with pytest.raises(UserError) as error:
        parse_stages(text, num_units, num_stages)
    assert str(error.value) == message


def test_more_stages_than_units():
    with pytest.raises(UserError, match=r"^the model has 6 units, which cannot be cut into 8 stages$"):
        cut_stages(units(*[1.0] * 6), stages(8))


def test_models_that_cannot_be_cut():
    class Doubled(Sequential):
        def forward(self, x, ctx):
            return 2 * super().forward(x, ctx)

    with pytest.raises(UserError, match=r"^Doubled has a forward of its own, so it cannot be cut into parts$"):
        find_units(Doubled(ReLU(), ReLU()))
    with pytest.raises(
        UserError, match=r"^the model is one unit, Residual, and only a Sequential can be cut into stages$"
    ):
        find_units(Residual(Linear(3, 3)))
    norm = BatchNorm2d(3)
    with pytest.raises(UserError, match=r"^units 0 and 2 share the running statistics 2.running_mean, so the model"):
        find_units(Sequential(norm, ReLU(), norm))
    one, two = Linear(3, 3), Linear(3, 3)
    two.weight = one.weight
    assert [unit.name for unit in find_units(Sequential(one, Sequential(ReLU(), two)))] == ["0", "1.0", "1.1"]
