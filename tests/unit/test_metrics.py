"""Metrics against formulas in float64 NumPy, on any number of ranks, and at the edges."""

import math
import random

import numpy as np
import pytest

from mpitrain.metrics import area_under_roc, make_metric
from tests.metric_results import one, results

# ---- oracles: the definitions, in float64


def oracle_topk(outputs, targets, k):
    order = np.argsort(-outputs, axis=1, kind="stable")[:, :k]
    return np.mean([t in row for t, row in zip(targets, order)])


def oracle_confusion(outputs, targets):
    matrix = np.zeros((outputs.shape[1],) * 2)
    for t, row in zip(targets, outputs):
        matrix[t, np.argmax(row)] += 1
    return matrix


def oracle_f1(outputs, targets, average):
    predicted, scores, support = outputs.argmax(axis=1), [], []
    for k in range(outputs.shape[1]):
        tp, fp, fn = (np.sum(m) for m in (
            (predicted == k) & (targets == k), (predicted == k) & (targets != k), (predicted != k) & (targets == k),
        ))  # fmt: skip
        if tp + fp + fn:
            precision, recall = tp / max(1, tp + fp), tp / max(1, tp + fn)
            scores.append(2 * precision * recall / (precision + recall) if tp else 0.0)
            support.append(tp + fn)
    return np.average(scores, weights=support if average == "weighted" else None)


def oracle_auc(outputs, targets):
    x = outputs.astype(np.float64)
    p = np.exp(x - x.max(axis=1, keepdims=True))
    p = np.round(p / p.sum(axis=1, keepdims=True), 9)  # rounding breaks ties
    areas = []
    for k in [1] if x.shape[1] == 2 else range(x.shape[1]):
        positive, negative = p[targets == k, k], p[targets != k, k]
        if positive.size and negative.size:
            pairs = np.sign(positive[:, None] - negative[None, :])
            areas.append(np.mean((pairs + 1) / 2))
    return np.mean(areas)


@pytest.mark.parametrize("num_classes", [2, 3, 11])
def test_metrics_of_classes_are_their_definitions(num_classes):
    rng = np.random.default_rng(num_classes)
    outputs = rng.integers(-3, 4, (200, num_classes)).astype(np.float32)  # with many ties
    outputs[100:] = rng.standard_normal((100, num_classes))
    targets = rng.integers(0, num_classes, 200)
    k = min(5, num_classes)
    specs = ["accuracy", f"topk:k={k}", "auc", "confusion", "f1", "f1:average=weighted", "f1:average=micro"]
    found = results(specs, outputs, targets, 1)
    assert found["accuracy"] == np.mean(outputs.argmax(axis=1) == targets) == found["f1_micro"]
    assert found[f"top{k}"] == pytest.approx(oracle_topk(outputs, targets, k), abs=1e-15)
    assert found["auc"] == pytest.approx(oracle_auc(outputs, targets), abs=1e-12)
    np.testing.assert_array_equal(found["confusion"], oracle_confusion(outputs, targets))
    for name, average in (("f1", "macro"), ("f1_weighted", "weighted")):
        assert found[name] == pytest.approx(oracle_f1(outputs, targets, average), abs=1e-14)


def test_the_binary_f1_is_that_of_class_one():
    rng = np.random.default_rng(1)
    outputs, targets = rng.standard_normal((50, 2)), rng.integers(0, 2, 50)
    predicted = outputs.argmax(axis=1)
    tp = np.sum(predicted & targets)
    expected = 2 * tp / (np.sum(predicted) + np.sum(targets))
    assert one("f1:average=binary", outputs, targets) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("offset", [0.0, 1.0e9])
@pytest.mark.parametrize("num_targets", [1, 3])
def test_metrics_of_numbers_are_their_definitions(num_targets, offset):
    rng = np.random.default_rng(2)
    targets = rng.standard_normal((300, num_targets)) + offset
    outputs = targets + 0.3 * rng.standard_normal(targets.shape)
    found = results(["mae", "r2"], outputs, targets, 1)
    errors = outputs - targets
    centered = (targets - offset) - (targets - offset).mean(axis=0)  # subtracting the offset is exact
    r2 = np.mean(1 - np.square(errors).sum(axis=0) / np.square(centered).sum(axis=0))
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-14)
    assert found["r2"] == pytest.approx(r2, rel=1e-12)  # no digit is lost to the offset


def user_metric(outputs, targets, power=1):
    return np.mean(np.abs(outputs.sum(axis=1) - targets.reshape(len(targets), -1).sum(axis=1)) ** power)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 8, 53])
def test_the_number_of_ranks_changes_no_bit(count, weighted):
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = np.random.default_rng(seed)
    weights = rng.random(count) if weighted else None
    outputs, targets = rng.standard_normal((count, 4)).astype(np.float32), rng.integers(0, 4, count)
    classes = ["accuracy", "topk:k=2", "f1", "f1:average=weighted", "auc", "confusion", user_metric]
    values = rng.standard_normal((count, 4)) * 10.0 ** rng.integers(-9, 9, (count, 4))
    for specs, y in ((classes, targets), (["mae", "r2"], values)):
        alone = results(specs, outputs, y, 1, weights)
        for size in range(2, 10):
            np.testing.assert_equal(results(specs, outputs, y, size, weights, batch=rng.integers(1, 9)), alone)


def test_a_weight_of_two_is_a_sample_twice():
    rng = np.random.default_rng(3)
    outputs, targets = rng.integers(-2, 3, (40, 3)).astype(np.float32), rng.integers(0, 3, 40)
    weights = rng.integers(0, 3, 40).astype(np.float64)
    twice = np.repeat(np.arange(40), weights.astype(int))
    numbers = rng.standard_normal((40, 3))
    for specs, y in ((["accuracy", "topk:k=2", "f1", "auc", "confusion"], targets), (["mae", "r2"], numbers)):
        found, expected = results(specs, outputs, y, 3, weights), results(specs, outputs[twice], y[twice], 2)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-13)


def test_ignored_targets_count_for_nothing():
    outputs, targets = np.eye(4)[[0, 1, 2, 3]], np.array([0, -100, 1, -100])
    tokens = outputs.reshape(2, 2, 4), targets.reshape(2, 2)  # (N, T, K) and (N, T)
    for metric in (make_metric("accuracy", 4), make_metric("auc", 4), make_metric("confusion", 4)):
        metric.update(*tokens)
        expected = type(metric)(4)
        expected.update(outputs[[0, 2]], targets[[0, 2]])
        np.testing.assert_equal(metric.result(), expected.result())


# ---- edges


@pytest.mark.parametrize("name", ["accuracy", "topk:k=2", "f1", "f1:average=micro", "f1:average=weighted", "auc"])
def test_no_samples_give_nan(name):
    assert math.isnan(one(name, np.empty((0, 3), np.float32), np.empty(0, np.int64), size=3))


def test_no_samples_of_numbers_give_nan():
    empty = np.empty((0, 2))
    assert math.isnan(one("mae", empty, empty, 2))
    assert math.isnan(one("r2", empty, empty, 2))
    assert not one("confusion", empty, np.empty(0, np.int64), 2).any()


def test_auc_of_one_class_is_not_defined():
    outputs = np.random.default_rng(4).standard_normal((9, 3))
    assert math.isnan(one("auc", outputs, np.ones(9, np.int64)))
    assert math.isnan(one("auc", outputs[:, :2], np.ones(9, np.int64)))
    assert one("f1", np.eye(3)[[1] * 9], np.ones(9, np.int64)) == 1  # the other classes do not occur


def test_auc_leaves_out_classes_without_samples():
    rng = np.random.default_rng(5)
    outputs, targets = rng.standard_normal((60, 4)), rng.integers(0, 3, 60)
    assert one("auc", outputs, targets) == pytest.approx(oracle_auc(outputs, targets), abs=1e-12)


def test_auc_tells_scores_apart_whose_probability_rounds_to_one():
    outputs = np.array([[0, 40], [0, 50], [0, 60], [0, 70]], np.float32)  # 1 / (1 + exp(-40)) is 1 in float64
    assert one("auc", outputs, np.array([0, 0, 1, 1])) == 1
    three = np.concatenate([np.full((4, 1), -5, np.float32), outputs], axis=1)
    assert one("auc", three, np.array([1, 1, 2, 2])) == 1


def test_equal_scores_are_half():
    assert one("auc", np.zeros((10, 2), np.float32), np.arange(10) % 2) == 0.5
    assert area_under_roc(np.array([1.0, np.inf, np.inf]), np.array([False, True, False]), np.ones(3)) == 0.75


def test_equal_outputs_count_in_their_order():
    outputs = np.zeros((3, 6), np.float32)
    assert one("top5", outputs, np.array([4, 5, 0])) == pytest.approx(2 / 3)
    assert one("accuracy", outputs, np.array([1, 5, 0])) == pytest.approx(1 / 3)


def test_outputs_that_are_nan():
    outputs = np.zeros((4, 6), np.float32)
    outputs[0, 2] = outputs[1, :] = np.nan
    targets = np.array([2, 0, 0, 1])
    right = outputs.argmax(axis=1) == targets  # the first NaN is the largest
    assert one("accuracy", outputs, targets) == one("topk:k=1", outputs, targets) == right.mean() == 0.75
    assert math.isnan(one("auc", outputs, targets))
    numbers = np.array([[1.0], [np.nan]])
    assert math.isnan(one("mae", numbers, np.zeros((2, 1))))
    assert math.isnan(one("r2", numbers, np.array([[1.0], [2.0]])))
    assert one("mae", np.array([[np.inf], [1.0]]), np.zeros((2, 1)), 2) == np.inf


def test_r2_of_equal_targets_is_not_defined():
    rng = np.random.default_rng(6)
    assert math.isnan(one("r2", rng.random((5, 1)), np.full((5, 1), 0.1)))
    assert one("r2", np.full((5, 1), 0.1), np.arange(5.0)[:, None]) < 0


def test_metrics_can_be_used_again():
    metric = make_metric("accuracy", 2)
    metric.update(np.eye(2), np.array([0, 0]))
    metric.reset()
    metric.update(np.eye(2), np.array([0, 1]))
    assert metric.result() == 1


def test_memory_of_samples_may_be_used_again():
    metric = make_metric("auc", 2)
    outputs, targets, weights = np.eye(2)[[0, 1, 0, 1]], np.array([0, 1, 1, 0]), np.array([1.0, 1.0, 3.0, 1.0])
    metric.update(outputs, targets, weights)
    expected = metric.result()
    for memory in (outputs, targets, weights):
        memory[:] = 0
    assert metric.result() == expected == 0.375
