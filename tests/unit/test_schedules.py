import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpitrain.errors import UserError
from mpitrain.optim import schedule

OPTIONS = {"constant": {}, "step": {"every": 7}, "cosine": {}, "one_cycle": {}}


@given(st.sampled_from(sorted(OPTIONS)), st.integers(1, 60), st.data())
def test_rates_rise_to_lr_and_never_rise_again(name, total_steps, data):
    warmup = data.draw(st.integers(0, total_steps))
    rate = schedule(name, lr=0.5, total_steps=total_steps, warmup_steps=warmup, **OPTIONS[name])
    rates = [rate(step) for step in range(total_steps + 5)]
    peak = rates.index(max(rates))
    assert all(0 <= r <= 0.5 for r in rates)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


@pytest.mark.parametrize("name", ["constant", "step", "cosine"])
def test_warmup_is_linear(name):
    rate = schedule(
        name, lr=8.0, total_steps=20, warmup_steps=4, **{**OPTIONS[name], **({"every": 20} if name == "step" else {})}
    )
    assert [rate(step) for step in range(5)] == [2, 4, 6, 8, 8]


def test_step():
    rate = schedule("step", lr=1.0, total_steps=10, milestones=(6, 3), gamma=0.5)
    assert [rate(step) for step in range(8)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    rate = schedule("step", lr=1.0, total_steps=10, every=2, gamma=0.5)
    assert [rate(step) for step in range(5)] == [1, 1, 0.5, 0.5, 0.25]


def test_cosine():
    rate = schedule("cosine", lr=1.0, total_steps=8, min_lr=0.2)
    assert [rate(0), rate(4), rate(8), rate(100)] == pytest.approx([1, 0.6, 0.2, 0.2])
    assert rate(2) == pytest.approx(0.2 + 0.4 * (1 + math.cos(math.pi / 4)))


def test_one_cycle():
    rate = schedule("one_cycle", lr=1.0, total_steps=10)
    assert [rate(0), rate(3), rate(10)] == pytest.approx([0.04, 1, 4e-6])
    assert rate(1) == pytest.approx(0.04 + 0.96 / 3)
    assert schedule("one_cycle", lr=1.0, total_steps=10, warmup_steps=5)(5) == 1


def test_a_minimum():
    rate = schedule("step:every=2,gamma=0.1,min_lr=0.02", lr=1.0, total_steps=10)
    assert [rate(step) for step in range(8)] == pytest.approx([1, 1, 0.1, 0.1, 0.02, 0.02, 0.02, 0.02])
    rate = schedule("one-cycle:min_lr=0.1", lr=1.0, total_steps=10)
    assert [rate(0), rate(3), rate(10)] == pytest.approx([0.1, 1, 0.1])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("linear", {}, "no schedule 'linear'; there are constant, step, cosine, one_cycle"),
        ("constant", {"gamma": 0.1}, "no option 'gamma'; it has none"),
        ("cosine", {"gamma": 0.1}, "no option 'gamma'; it has min_lr"),
        ("cosine", {"warmup_steps": 11}, "11 steps does not fit into 10"),
        ("cosine", {"min_lr": 2.0}, "between 0 and the learning rate 1.0, but it is 2.0"),
        ("step", {}, "either milestones or every"),
        ("step", {"every": -3}, "a positive every, but it is -3"),
        ("step", {"every": 3, "gamma": -0.1}, "a gamma of 0 or more, and finite, but it is -0.1"),
        ("step", {"milestones": [3], "gamma": math.nan}, "gamma .* but it is nan"),
        ("one_cycle", {"start_divisor": 0.0}, "needs start_divisor above 0, but it is 0.0"),
        ("one_cycle", {"end_divisor": -1.0}, "needs end_divisor above 0, but it is -1.0"),
    ],
)
def test_impossible_schedules(name, options, message):
    with pytest.raises(UserError, match=message):
        schedule(name, lr=1.0, total_steps=10, **options)
