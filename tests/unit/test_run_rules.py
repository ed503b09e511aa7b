"""The length of a run, its evaluations, and its early stop."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpitrain.config import Config, Parallel, Run
from mpitrain.config_check import check
from mpitrain.config_keywords import config_from
from mpitrain.errors import UserError
from mpitrain.run_rules import EarlyStopRule, parse_early_stop, parse_evaluate_every
from mpitrain.training.directory.resume import BEFORE, FIXED
from mpitrain.training.early_stop import reason_to_stop
from mpitrain.training.results import EpochResult
from mpitrain.training.run_length import RunLength, label_of
from mpitrain.training.step_timer import Times


@pytest.mark.parametrize(
    ("text", "steps"), [("1", 1), ("200", 200), ("1e", 30), ("3e", 90), ("0.5e", 15), (".1e", 3), ("0.001e", 1)]
)
def test_intervals(text, steps):
    assert parse_evaluate_every(text).steps(30) == steps


@pytest.mark.parametrize("text", ["", "0", "0e", "-1", "1.5", "e", "1 epoch", "1ee", "1e5", "nan", "10m", "9" * 30])
def test_what_is_no_interval(text):
    with pytest.raises(UserError, match=r"--evaluate-every is '.*', but must be steps \(200\) or epochs \(2e, 0.5e\)"):
        check(Config(run=Run(evaluate_every=text)))


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 300), st.sampled_from(["1e", "3e", "0.3e", "7", "1000"]))
def test_the_last_step_is_evaluated_and_epochs_add_up(steps_per_epoch, epochs, steps, every):
    length = RunLength.of(Run(epochs=epochs, steps=steps, evaluate_every=every), steps_per_epoch)
    assert length.total_steps == (steps or epochs * steps_per_epoch)
    assert (length.last_epoch - 1) * steps_per_epoch < length.total_steps <= length.last_epoch * steps_per_epoch
    evaluated = [step for step in range(length.total_steps + 1) if length.evaluates_after(step)]
    assert evaluated[-1] == length.total_steps
    assert all(b - a == length.evaluate_every for a, b in itertools.pairwise(evaluated[:-1]))
    if every == "1e" and not steps:
        assert evaluated == [steps_per_epoch * (epoch + 1) for epoch in range(epochs)]


def test_labels():
    assert label_of(Run(epochs=10), 3, 69) == "epoch  3/10"
    assert label_of(Run(epochs=10, evaluate_every="2e"), 4, 69) == "epoch  4/10"
    assert label_of(Run(epochs=10, evaluate_every="0.5e"), 4, 1069) == "epoch  4/10 step 1,069"
    assert label_of(Run(epochs=10, steps=2000), 4, 69) == "step    69/2,000"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("loss:patience=5", EarlyStopRule("loss", 5)),
        (" top5:min_delta=0.01,patience=1", EarlyStopRule("top5", 1, 0.01)),
        ("", None),
        ("  ", None),
    ],
)
def test_rules(text, rule):
    assert parse_early_stop(text) == rule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loss", "lacks the patience, as in loss:patience=5"),
        ("loss:5", "takes SCORE:patience=N,min_delta=X, each once, not '5'"),
        ("loss:patience=0", "patience in --early-stop is '0', but must be a whole number, 1 or more"),
        ("loss:patience=2.5", "'2.5'"),
        ("loss:patience=2,patience=3", "each once"),
        ("loss:patience=2,min_delta=-1", "min_delta in --early-stop is '-1', but must be a number, 0 or more"),
        ("loss:patience=2,min_delta=nan", "'nan'"),
        ("loss:patience=2,max=1", "not 'max=1'"),
    ],
)
def test_rules_that_are_none(text, message):
    with pytest.raises(UserError, match=message):
        check(Config(run=Run(early_stop=text)))


def results(scores):
    found = []
    for step, score in enumerate(scores, 1):
        found.append(EpochResult(step, step, 0.1, {}, {}, 1.0, 1.0, Times(), {"loss": score}))
    return found


def stops_after(scores, patience, *, larger=False, min_delta=0.0):
    """Return after which evaluation a run stops; 0 for none."""
    rule = EarlyStopRule("loss", patience, min_delta)
    reasons = [bool(reason_to_stop(rule, larger, results(scores[:n]))) for n in range(len(scores) + 1)]
    assert reasons == sorted(reasons)  # once stopped, a run that is resumed stays stopped
    return reasons.index(True) if any(reasons) else 0


@pytest.mark.parametrize(
    ("scores", "patience", "options", "expected"),
    [
        ([3, 2, 1], 1, {}, 0),
        ([3, 2, 2], 1, {}, 3),  # equal is not better
        ([3, 2, 4, 4], 2, {}, 4),
        ([3, 2, 4, 1, 4, 4], 2, {}, 6),
        ([1, 2, 3, 3], 1, {"larger": True}, 4),
        ([3, 2.9, 2.8, 2.7], 2, {"min_delta": 0.15}, 0),  # against the best that counted, 3 and then 2.8
        ([3, 2.9, 2.88], 2, {"min_delta": 0.15}, 3),
        ([math.nan, math.nan], 2, {}, 2),
        ([1, math.nan, math.nan], 2, {}, 3),
        ([math.nan, 1, 0.5], 2, {}, 0),
        ([math.inf, 1, 0.5], 2, {}, 0),
    ],
)
def test_when_a_run_stops(scores, patience, options, expected):
    assert stops_after(scores, patience, **options) == expected


def test_the_reason():
    rule = EarlyStopRule("loss", 2, 0.1)
    assert reason_to_stop(rule, False, results([3, 2, 1.95, 1.95])) == (
        "loss has not become better by 0.1 than 2 after step 2 in 2 evaluations"
    )
    reason = reason_to_stop(EarlyStopRule("loss", 1), False, results([math.nan]))
    assert reason == "loss was not a number in 1 evaluation"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"shard": "optimizer"}, "--shard optimizer"),
        ({"reproducible": 4}, "--reproducible"),
        ({"elastic": True}, "--elastic"),
    ],
)
def test_options_that_need_sums_in_every_step(options, name):
    check(Config(parallel=Parallel(**options)))
    with pytest.raises(UserError, match=f"--sync local:steps=4 does not go with {name}, which needs sums"):
        check(Config(parallel=Parallel(sync="local:steps=4", **options)))


def test_sums_in_every_step_have_one_name():
    assert config_from(sync="every-step").parallel.sync == Parallel().sync == BEFORE["sync"]
    assert FIXED["parallel", "sync"] == "--sync"
