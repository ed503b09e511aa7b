"""Intersection over union against its definition, on any number of ranks, with weights and pixels without a label."""

import numpy as np
import pytest

from mpitrain.errors import UserError
from mpitrain.metrics import make_metric, make_metrics
from mpitrain.metrics.base import IGNORED
from tests.metric_results import one, results

RNG = np.random.default_rng(5)


def by_definition(predicted, targets, weights, num_classes):
    each = np.full(num_classes, np.nan)
    for k in range(num_classes):
        union = weights[(predicted == k) | (targets == k)].sum()
        if union:
            each[k] = weights[(predicted == k) & (targets == k)].sum() / union
    return each


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 60])
def test_against_the_definition(count, size, weighted):
    outputs, targets = RNG.standard_normal((count, 4)), RNG.integers(0, 3, count)
    weights = RNG.random(count) if weighted else None
    found = results(["iou", "miou"], outputs, targets, size, weights)
    alike = np.ones(count) if weights is None else weights
    expected = by_definition(outputs.argmax(axis=1), targets, alike, 4)
    np.testing.assert_allclose(found["iou"], expected, rtol=1e-14)
    mean = np.nan if np.isnan(expected).all() else np.nanmean(expected)
    np.testing.assert_allclose(found["miou"], mean, rtol=1e-14)


def test_any_division_has_the_same_bits():
    outputs, targets, weights = RNG.standard_normal((90, 3)), RNG.integers(0, 3, 90), RNG.random(90)
    for given in (None, weights):
        assert len({one("miou", outputs, targets, size, given) for size in range(1, 8)}) == 1


def test_pixels():
    """A pixel without a label counts neither as a class nor as a prediction; small integers do not overflow."""
    targets = RNG.integers(0, 3, (5, 4, 6)).astype(np.int8)
    targets[0, :2] = IGNORED
    outputs = RNG.standard_normal((*targets.shape, 3))
    counted = targets != IGNORED
    metrics = make_metrics("iou,accuracy,f1,confusion,topk:k=2", 3, "segmentation")
    metrics.update(outputs, targets)
    found = metrics.results()
    flat, classes = outputs[counted], targets[counted].astype(int)
    np.testing.assert_allclose(
        found["iou"], by_definition(flat.argmax(axis=1), classes, np.ones(len(classes)), 3), rtol=1e-14
    )
    assert found["accuracy"] == (flat.argmax(axis=1) == classes).mean()
    assert found["confusion"].sum() == counted.sum()


def test_metrics_that_would_gather_pixels():
    with pytest.raises(UserError, match="'auc' would gather the outputs of all pixels: it is not for segmentation"):
        make_metric("auc", 3, "segmentation")
    with pytest.raises(UserError, match="the metric 'mae' is for regression, and the task is segmentation"):
        make_metric("mae", 3, "segmentation")
    with pytest.raises(UserError, match="the metric 'miou' is for classification, and the task is regression"):
        make_metric("miou", 3, "regression")
