"""Recall and NDCG at k against sorting by hand, on any number of ranks."""

import math

import numpy as np
import pytest

from mpitrain.data.ratings.seen import Seen, UnknownItems
from mpitrain.errors import UserError
from mpitrain.metrics import make_metrics
from tests.metric_results import one, results


def place(row, target):
    """Return the place of the target: a sort by (-output, others first), NaN before all."""
    keys = [(-np.inf if np.isnan(value) else -value, k == target) for k, value in enumerate(row)]
    return sorted(range(len(row)), key=lambda k: keys[k]).index(target)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("k", [1, 3])
def test_of_all_items(size, k):
    rng = np.random.default_rng(size)
    outputs = rng.integers(-2, 3, (60, 7)).astype(np.float32)  # with many ties
    outputs[30:] = rng.standard_normal((30, 7))
    outputs[3, 2:4], outputs[4, 0], outputs[5] = np.nan, -np.inf, np.nan
    targets = rng.integers(0, 7, 60)
    places = [place(row, target) for row, target in zip(outputs.tolist(), targets.tolist())]
    found = results([f"recall:k={k}", f"ndcg:k={k}"], outputs, targets, size)
    assert found == {
        f"recall@{k}": np.mean([p < k for p in places]),
        f"ndcg@{k}": pytest.approx(np.mean([(p < k) / math.log2(p + 2) for p in places]), rel=1e-14),
    }
    assert found == results([f"recall:k={k}", f"ndcg:k={k}"], outputs, targets, 1)  # to the bit


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("length", [2, 5, 100])
def test_of_lists(size, length):
    """Ranks and batches cut lists anywhere."""
    rng = np.random.default_rng(length)
    scores = rng.integers(-3, 4, (11, length)).astype(np.float32)
    outputs = np.stack([rng.standard_normal(11 * length), np.zeros(11 * length)], axis=1).astype(np.float32)
    outputs[:, 0] = np.round(outputs[:, 0])
    outputs[:, 1] = outputs[:, 0] + scores.reshape(-1)
    targets = np.tile(np.arange(length) == 0, 11).astype(np.int64)
    places = [place(row, 0) for row in scores.tolist()]
    found = results(["recall:k=2", "ndcg:k=3"], outputs, targets, size)
    assert found["recall@2"] == np.mean([p < 2 for p in places])
    assert found["ndcg@3"] == pytest.approx(np.mean([(p < 3) / math.log2(p + 2) for p in places]), rel=1e-14)


def test_a_model_that_tells_nothing_apart_finds_nothing():
    assert one("recall:k=2", np.zeros((4, 5)), [0, 1, 2, 3]) == 0
    assert one("recall:k=2", np.zeros((8, 2)), [1, 0, 0, 0] * 2) == 0


def test_no_samples():
    assert math.isnan(one("recall", np.zeros((0, 20)), np.zeros(0, np.int64)))
    assert math.isnan(one("ndcg", np.zeros((0, 2)), np.zeros(0, np.int64)))


def test_items_that_a_user_has_had_are_left_out_for_rankings_only():
    seen = Seen(np.array([1, 1, 2]), np.array([3, 4, 1]), 3, 5)
    outputs = np.array([[9, 1, 2, 3, 4], [9, 4, 3, 2, 1.0]])
    users, targets = np.array([1, 2]), np.array([2, 2])
    metrics = make_metrics("recall:k=1,topk:k=1,ndcg:k=2", 5)
    metrics.update(outputs, targets, hide=lambda values: seen.hide(values, users[:, None], targets))
    metrics.gather(lambda state: [state])
    assert metrics.results() == {"recall@1": 1.0, "top1": 0.0, "ndcg@2": 1.0}
    assert outputs[0, 0] == 9


def test_an_item_that_nobody_has_trained_is_never_found():
    seen = Seen(np.array([1]), np.array([1]), 2, 4)
    outputs, users, targets = np.array([[9.0, 1, 2, 3]]), np.array([1]), np.array([0])
    assert one("recall:k=3", seen.hide(outputs, users[:, None], targets), targets) == 0


@pytest.mark.parametrize(
    ("spec", "outputs", "targets", "message"),
    [
        ("recall:k=0", np.zeros((2, 5)), [0, 1], "'recall@0' needs 2 classes"),
        ("ndcg:k=5", np.zeros((2, 5)), [0, 1], "'ndcg@5' needs 6 classes"),
        ("recall", np.zeros((4, 2)), [0, 1, 0, 1], "'recall@10' of two classes is for lists"),
        ("recall", np.zeros((4, 2)), [1, 1, 0, 1], "is for lists"),
        ("recall", np.zeros((5, 2)), [1, 0, 1, 0, 1], "is for lists"),
        ("recall", np.zeros((4, 2)), [0, 0, 0, 0], "is for lists"),
    ],
)
def test_errors(spec, outputs, targets, message):
    with pytest.raises(UserError, match=message):
        one(spec, outputs, targets)


def test_a_click_of_an_unknown_item_is_never_found():
    outputs = np.array([[0, 9.0], [0, 1], [0, 9], [0, 1]])
    x, targets = np.array([[1, 0], [1, 2], [1, 3], [1, 2]]), np.array([1, 0, 1, 0])
    metrics = make_metrics("recall:k=1", 2)
    metrics.update(outputs, targets, hide=lambda values: UnknownItems().hide(values, x, targets))
    metrics.gather(lambda state: [state])
    assert metrics.results() == {"recall@1": 0.5}
