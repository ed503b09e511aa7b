"""Scores of a regression are those of float64 against the targets as they are."""

import numpy as np
import pytest

from mpitrain.context import Context
from mpitrain.data import Normalizer, Split
from mpitrain.errors import UserError
from mpitrain.losses import MSE
from mpitrain.training.scoring.scores import check_scorable, make_scoring

RNG = np.random.default_rng(4)


def scores(normalizer, outputs, targets, parts=1):
    """Score in ``parts`` batches, as ranks would, and return the scores."""
    scoring, ctx = make_scoring(MSE(), normalizer, targets.shape[1]), Context(training=False)
    rows = np.array_split(np.arange(len(targets)), parts)
    sums = sum(scoring.sums(outputs[r], targets[r], ctx) for r in rows)
    assert sums.shape == (scoring.num_sums,)
    return scoring.scores(sums, [Split(targets, targets)])


@pytest.mark.parametrize("parts", [1, 3, 50])
@pytest.mark.parametrize("offset", [0.0, 1.7e9, -1e14])
@pytest.mark.parametrize("num_outputs", [1, 3])
def test_against_the_definitions(offset, num_outputs, parts):
    y = offset + RNG.standard_normal((40, num_outputs)) * np.array([1.0, 10.0, 300.0])[:num_outputs]
    normalizer = Normalizer.fit(y)
    outputs = (normalizer(y) + 0.1 * RNG.standard_normal(y.shape)).astype(np.float32)
    found = scores(normalizer, outputs, y, parts)
    z = (y - normalizer.mean).astype(np.longdouble)
    error = outputs.astype(np.longdouble) * normalizer.std - z
    mse = (error**2).mean(axis=0)
    r2 = 1 - mse / ((z - z.mean(axis=0)) ** 2).mean(axis=0)
    expected = {"mse": mse.mean(), "rmse": mse.mean() ** 0.5, "r2": r2.mean(), "loss": (mse / normalizer.std**2).mean()}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), rel=1e-10), name


def test_targets_far_from_those_of_the_training():
    """The variance is the test samples' own, to all digits."""
    y = 1e9 + RNG.standard_normal((100, 1))
    outputs = np.full((100, 1), 1e9, np.float32)
    found = scores(Normalizer([0.0], [1.0]), outputs, y)
    centered = y - 1e9
    assert found["r2"] == pytest.approx(1 - (centered**2).mean() / centered.var(), abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.7e9])
def test_equal_targets_have_no_r2(value):
    y = np.full((7, 1), value)
    assert scores(Normalizer([0.3], [2.0]), np.zeros((7, 1), np.float32), y).keys() == {"loss", "mse", "rmse"}
    assert scores(Normalizer([0.3], [2.0]), np.zeros((1, 1), np.float32), y[:1]).keys() == {"loss", "mse", "rmse"}


@pytest.mark.parametrize(("std", "cure"), [(1e200, "divide"), (1e-200, "multiply")])
def test_squares_that_do_not_fit(std, cure):
    check_scorable(Normalizer([0.0, 0.0], [1e-100, 1e100]))
    with pytest.raises(UserError, match=f"the targets vary by .*: {cure} them by a constant"):
        check_scorable(Normalizer([0.0, 0.0], [1.0, std]))
