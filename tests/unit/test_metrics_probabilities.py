"""Average precision, calibration error and Brier score against their definitions and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from mpitrain.errors import UserError
from mpitrain.metrics import make_metric
from mpitrain.metrics.base import IGNORED
from tests.metric_results import one

RNG = np.random.default_rng(7)
SPECS = ("ap", "ece", "ece:bins=4", "brier")


def softmax(outputs):
    e = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def samples(count, classes, ties):
    outputs = RNG.standard_normal((count, classes)) * 2
    return np.round(outputs) if ties else outputs, RNG.integers(0, classes, count), RNG.uniform(0.1, 3, count)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_average_precision_of_two_classes(size, weighted, ties):
    """Ties of scores, also where the logits of the two classes differ."""
    outputs, targets, weights = samples(90, 2, ties)
    given = weights if weighted else None
    expected = average_precision_score(targets, (outputs[:, 1] - outputs[:, 0]).astype(np.float32), sample_weight=given)
    assert one("ap", outputs, targets, size, given) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", [1, 4])
def test_average_precision_of_several_classes(size):
    """Class 4 has no sample."""
    outputs, targets, weights = samples(80, 5, ties=False)
    targets[targets == 4] = 0
    p = softmax(outputs)
    each = [average_precision_score(targets == k, p[:, k], sample_weight=weights) for k in range(4)]
    assert one("ap", outputs, targets, size, weights) == pytest.approx(np.mean(each), rel=1e-6)


def by_definition(outputs, targets, weights, bins):
    p = softmax(outputs)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == targets
    total = 0.0
    for b in range(bins):
        inside = (b / bins < confidence) & (confidence <= (b + 1) / bins)
        total += abs((weights * (right - confidence.astype(float)))[inside].sum())
    return total / weights.sum()


@pytest.mark.parametrize("bins", [1, 4, 15])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_calibration_error(size, bins):
    outputs, targets, weights = samples(300, 9, ties=False)
    outputs *= RNG.uniform(0, 1.5, (300, 1))  # confidences from 1/9 to 1
    found = one(f"ece:bins={bins}", outputs, targets, size, weights)
    assert found == pytest.approx(by_definition(outputs, targets, weights, bins), rel=1e-12)


def test_certain_and_undecided_predictions():
    """A confidence of 1 is in the last bin, and one on an edge in the bin below it."""
    assert one("ece", np.array([[0.0, 900.0]] * 4), np.array([1, 1, 1, 0])) == pytest.approx(0.25)
    assert one("ece:bins=2", np.zeros((4, 2)), np.array([0, 0, 1, 1])) == 0
    assert one("brier", np.array([[0.0, 900.0]] * 4), np.array([1, 1, 1, 0])) == pytest.approx(0.5)


def test_brier_score():
    outputs, targets, weights = samples(50, 4, ties=False)
    squares = ((softmax(outputs) - np.eye(4)[targets]) ** 2).sum(axis=1)
    assert one("brier", outputs, targets, 3, weights) == pytest.approx((weights * squares).sum() / weights.sum())
    two, classes = outputs[:, :2], targets % 2
    assert one("brier", two, classes) == pytest.approx(2 * np.mean((softmax(two)[:, 1] - classes) ** 2))


@pytest.mark.parametrize("spec", SPECS)
def test_any_division_has_the_same_bits(spec):
    outputs, targets, weights = samples(90, 3, ties=True)
    for given in (None, weights):
        assert len({one(spec, outputs.astype(np.float32), targets, size, given) for size in range(1, 7)}) == 1


@pytest.mark.parametrize("spec", SPECS)
def test_samples_that_do_not_count(spec):
    outputs, targets, _ = samples(40, 3, ties=False)
    marked = targets.copy()
    marked[::4] = IGNORED
    assert one(spec, outputs, marked) == one(spec, outputs[marked >= 0], targets[marked >= 0])
    assert np.isnan(one(spec, outputs[:0], targets[:0]))
    outputs[3] = np.nan
    assert np.isnan(one(spec, outputs, targets))


def test_settings():
    assert [make_metric(spec, 3).larger_is_better for spec in SPECS] == [True, False, False, False]
    assert [make_metric(spec, 3).name for spec in SPECS] == ["ap", "ece", "ece4", "brier"]
    with pytest.raises(UserError, match="the metric 'ece' needs at least one bin, not 0"):
        make_metric("ece:bins=0", 3)
    with pytest.raises(UserError, match="the metric 'ap' would gather the outputs of all pixels"):
        make_metric("ap", 3, "segmentation")
    make_metric("ece", 3, "segmentation")
