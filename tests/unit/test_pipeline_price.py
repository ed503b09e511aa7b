"""Prices of pipelines: times of stages and messages, causes of idle time, and the choice."""

import random
from itertools import pairwise

import pytest

from mpitrain.collectives.price import Calibration, Curve, Wire
from mpitrain.errors import UserError
from mpitrain.pipelines import PIPELINES, Task, find, make_pipeline, make_program, simulate
from mpitrain.pipelines.idle import CAUSES, balanced, find_idle, shares
from mpitrain.pipelines.price import CANDIDATES, Costs, choose, make_link, predict, predict_program


def idle_of(prediction, rank):
    return [(one.begin, one.end, one.cause) for one in prediction.idle[rank]]


def test_causes_by_hand():
    """Two ranks, one microbatch; stage 1 takes three times as long, a message 0.5. The mean F takes 2."""
    costs = Costs((1.0, 3.0), (1.0, 1.0), (0.0, 0.0), lambda *_: (0.5, 0.0))
    found = predict(find("1f1b"), 2, 1, costs)
    assert found.timeline.begins == [[0.0, 6.0], [1.5, 4.5]]
    # rank 1 begins 1.5 late: with equal stages and free messages it would be 2
    assert idle_of(found, 1) == [(0.0, 1.5, "dependency"), (5.5, 6.5, "dependency"), (6.5, 7.0, "message")]
    # rank 0 waits from 1 to 6: 3 with equal stages (2 + 1), 4 with these (3 + 1), and two messages
    assert idle_of(found, 0) == [(1.0, 4.0, "dependency"), (4.0, 5.0, "imbalance"), (5.0, 6.0, "message")]
    assert found.price.bubble == pytest.approx((3 + 5) / 14)
    assert found.price.imbalance == pytest.approx(1 / 14)
    assert found.price.message == pytest.approx(1.5 / 14)
    assert (found.price.slowest, found.price.slowest_over_mean) == (1, pytest.approx(4 / 3))


@pytest.mark.parametrize("name", [*PIPELINES, "greedy:memory=0.5", "interleaved:chunks=3"])
def test_causes_add_up(name):
    for seed in range(6):
        rng = random.Random(seed)
        size, m = rng.randint(1, 6), rng.randint(1, 9)
        program = make_program(find(name), size, m)
        durations = [[rng.uniform(0.5, 1.5) for _ in own] for own in program.tasks]
        found = predict_program(program, durations, lambda *_: (0.3, 0.2))
        total = found.timeline.total
        for rank, own in enumerate(found.idle):
            spans = sorted(
                [(a, b) for _, a, b, _ in own] + list(zip(found.timeline.begins[rank], found.timeline.ends[rank]))
            )
            assert spans[0][0] == 0.0
            assert spans[-1][1] == pytest.approx(total)
            assert all(one[1] == pytest.approx(two[0]) for one, two in pairwise(spans)), f"seed {seed}"
            idle = sum(shares(own, total).values())
            assert idle == pytest.approx(found.price.bubbles[rank], abs=1e-9)
        price = found.price
        assert price.dependency + price.imbalance + price.message == pytest.approx(price.bubble, abs=1e-9)


def test_each_cause_alone():
    for name in PIPELINES:
        even = predict(find(name), 4, 8).price
        assert (even.imbalance, even.message) == (0.0, 0.0)
        assert even.dependency == pytest.approx(even.bubble)
        uneven = predict(find(name), 4, 8, Costs((1, 1, 2, 1), (1, 1, 2, 1), (1, 1, 2, 1))).price
        assert uneven.message == 0.0
        assert uneven.imbalance > 0.01
        slow = predict(find(name), 4, 8, Costs(link=lambda *_: (1.0, 0.0))).price
        assert slow.imbalance == pytest.approx(0.0, abs=1e-12)
        assert slow.message > 0.01
        assert set(CAUSES) <= set(vars(slow))


def test_balanced_durations_are_means_of_kinds():
    program = make_program(find("zb_h1"), 2, 1)
    durations = [[1.0, 2.0, 3.0], [3.0, 4.0, 9.0]]
    assert balanced(program, durations) == [[2.0, 3.0, 6.0], [2.0, 3.0, 6.0]]
    assert [own[0].cause for own in find_idle(simulate(program, durations), durations)] == ["dependency"] * 2


def durations_by_stage(name, costs, size=2, m=1):
    program = make_program(find(name) if isinstance(name, str) else name, size, m)
    times = costs.durations(program)
    return {(t.kind, t.stage): cost for own, c in zip(program.tasks, times) for t, cost in zip(own, c)}


def test_stages_take_their_share_of_the_parts():
    costs = Costs((2.0, 6.0), (1.0, 3.0), (0.5,))
    assert durations_by_stage("gpipe", costs) == {("F", 0): 2, ("B", 0): 1.5, ("F", 1): 6, ("B", 1): 3.5}
    found = durations_by_stage("interleaved:chunks=2", costs)
    assert [found["F", stage] for stage in range(4)] == [1.0, 1.0, 3.0, 3.0]
    assert [found["B", stage] for stage in range(4)] == [0.75, 0.75, 1.75, 1.75]
    each = Costs((1.0, 2.0, 3.0, 4.0))
    assert [durations_by_stage("interleaved:chunks=2", each)["F", s] for s in range(4)] == [1.0, 2.0, 3.0, 4.0]
    assert [durations_by_stage("gpipe", each)["F", s] for s in range(2)] == [3.0, 7.0]
    split = durations_by_stage("zb_h1", costs)
    assert (split["B", 1], split["W", 1]) == (3.0, 0.5)

    def three_stages(rank, size, m):
        for kind in "FB":
            for stage in ((0, 2), (1,))[rank][:: 1 if kind == "F" else -1]:
                yield Task(kind, stage, 0)

    found = durations_by_stage(make_pipeline(three_stages), Costs((2.0, 4.0)))
    assert [found["F", stage] for stage in range(3)] == pytest.approx([4 / 3, 2 / 3 + 4 / 3, 8 / 3])
    for values in ((1.0, 2.0, 3.0), ()):
        with pytest.raises(UserError, match=rf"{len(values)} times of forward are given, but there must be 1, or one"):
            durations_by_stage("gpipe", Costs(values))


def test_messages_take_the_times_of_the_calibration():
    inside = Wire(Curve([(0, 2e-6), (1000, 3e-6)]), Curve([(0, 0.0)]), send_overhead=1e-6, recv_overhead=2e-6)
    across = Wire.line(1e-3, 1e-6)
    calibration = Calibration(inside, across, Curve([(0, 0.0)]))
    link = make_link(calibration, 500, ranks_per_node=2)
    assert link(0, 1) == pytest.approx((5e-6, 0.5e-6))
    assert link(1, 2) == pytest.approx((1e-3, 500e-6))
    assert make_link(calibration, 500)(1, 2) == link(0, 1)


def test_messages_of_a_rank_to_another_follow_each_other():
    """Two forwards of 1 each, whose messages keep the link busy for 3 and arrive 0.5 later."""
    program = make_program(find("gpipe"), 2, 2)
    found = simulate(program, [[1.0] * 4, [1.0] * 4], lambda sender, receiver: (0.5, 3.0) if receiver else (0.0, 0.0))
    assert found.begins[1][:2] == [1 + 3 + 0.5, 1 + 3 + 3 + 0.5]


def test_the_choice():
    prices = [predict(find(name), 4, 8).price for name in CANDIDATES]
    assert choose(prices).schedule == "greedy:memory=1"
    assert choose(prices, memory=4).schedule == "greedy:memory=1"
    assert choose(prices, memory=3.9).schedule == "greedy:memory=0.5"
    assert choose(prices, memory=1) is None
    # of two that are equally fast, the one with less memory
    assert choose(prices[:2]).schedule == "1f1b"
    assert choose(prices[1::-1]).schedule == "1f1b"
