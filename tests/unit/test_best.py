"""The best epoch: by the score, for equal scores by the loss, for equal losses the first."""

import math
from types import SimpleNamespace

import pytest

from mpitrain.training.results import EpochResult, RunResults
from mpitrain.training.step_timer import Times


def best_of(metric, larger_is_better, scores):
    scoring = SimpleNamespace(metric=metric, larger_is_better=larger_is_better)
    results = RunResults(scoring)
    for epoch, (score, loss) in enumerate(scores, 1):
        results.add(EpochResult(epoch, epoch, 0.1, {}, {metric: score, "loss": loss}, 1.0, 1.0, Times()))
    assert len(results.evaluations) == len(scores)
    chosen = results.best
    results.forget_after(len(scores))
    assert results.best == chosen
    return chosen


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.9, 0.3), (0.95, 0.4), (0.93, 0.1)], 2),
        ([(0.98, 0.049), (0.98, 0.037), (0.98, 0.04)], 2),  # equal accuracy
        ([(0.98, 0.04), (0.98, 0.04)], 1),
        ([(math.nan, math.nan), (0.1, 2.0), (math.nan, 1.0)], 2),
        ([(0.5, math.nan), (0.5, 3.0)], 2),
        ([(0.5, math.inf), (0.5, 3.0)], 2),
    ],
)
def test_accuracy(scores, best):
    assert best_of("accuracy", True, scores) == best


@pytest.mark.parametrize(
    ("scores", "best"), [([(4.0, 1.0), (3.0, 0.9), (3.0, 0.8)], 3), ([(math.nan, 0.1), (9.0, 0.9)], 2)]
)
def test_mse(scores, best):
    assert best_of("mse", False, scores) == best


def test_the_validation_split_decides_where_there_is_one():
    scoring = SimpleNamespace(metric="accuracy", larger_is_better=True)
    results = RunResults(scoring)
    for epoch, (validation, test) in enumerate([(0.7, 0.9), (0.8, 0.6), (0.75, 0.95)], 1):
        scores = [{"accuracy": value, "loss": 1 - value} for value in (test, validation)]
        results.add(EpochResult(epoch, epoch, 0.1, {}, scores[0], 1.0, 1.0, Times(), scores[1]))
    assert results.best == 2
