"""Answers, access and metrics of a service."""

import math

import numpy as np
import orjson

from mpitrain.serving.access import Access
from mpitrain.serving.answers import Answers
from mpitrain.serving.metrics import Metrics
from mpitrain.serving.replicas import Replicas
from tests.unit.serving.ranks import Ranks
from tests.unit.serving.requests import run_of


def test_answers_hold_the_bits():
    rng = np.random.default_rng(3)
    names = tuple("abc")
    found = rng.random((4, 3), np.float32)
    rows = orjson.loads(Answers(run_of(class_names=names)).json(found))["predictions"]
    again = np.array([list(row["probabilities"].values()) for row in rows]).astype(np.float32)
    np.testing.assert_array_equal(again, found)
    assert [row["class"] for row in rows] == [names[k] for k in found.argmax(axis=1)]
    many = Answers(run_of(num_outputs=30))
    found = rng.random((1, 30), np.float32)
    (row,) = orjson.loads(many.json(found))["predictions"]
    assert list(row["probabilities"]) == [str(k) for k in np.argsort(-found[0])[:5]]
    assert len(orjson.loads(many.json(found, 7))["predictions"][0]["probabilities"]) == 7
    values = rng.random((2, 2))
    rows = orjson.loads(Answers(run_of("regression", num_outputs=2, target_name="u,v")).json(values))["predictions"]
    assert rows == [{"u": u, "v": v} for u, v in values.tolist()]
    nothing = orjson.loads(Answers(run_of("regression", num_outputs=1)).json(np.array([[math.inf]])))
    assert nothing == {"predictions": [{"prediction": None}]}


def test_who_may_ask():
    free, closed = Access(""), Access("secret")
    assert not free.refusal({b"host": b"localhost:8000"}, b"")
    assert "localhost only" in free.refusal({b"host": b"evil.example"}, b"")
    assert "localhost only" in free.refusal({}, b"")
    own = {b"host": b"localhost:8000", b"origin": b"http://localhost:8000"}
    assert not free.refusal(own, b"")
    assert "another origin" in free.refusal(own | {b"origin": b"http://evil.example"}, b"")
    assert "another origin" in free.refusal(own | {b"origin": b"null"}, b"")
    for headers, query in (
        ({}, b""),
        ({b"authorization": b"Bearer other"}, b""),
        ({b"authorization": b"Basic secret"}, b""),
        ({}, b"token=secre"),
        ({}, b"token=%ff"),
    ):
        assert "token" in closed.refusal(headers, query)
    assert not closed.refusal({b"authorization": b"Bearer secret"}, b"")
    assert not closed.refusal({}, b"a=1&token=secret")


def test_metrics_are_in_the_format_of_prometheus():
    metrics = Metrics()
    metrics.answered("/predict", 200, 0.003)
    metrics.answered("other", 404, 99.0)
    metrics.batch(3)
    replicas = Replicas([(0, 1), (2, 3)], [0, 2], Ranks(), None)
    text = metrics.text(replicas.all, queued=5, in_flight=2, draining=True)
    assert text.endswith("\n")
    lines = text.splitlines()
    for line in (
        'mpitrain_requests_total{path="/predict",status="200"} 1',
        'mpitrain_request_seconds_bucket{le="0.0025"} 0',
        'mpitrain_request_seconds_bucket{le="0.005"} 1',
        'mpitrain_request_seconds_bucket{le="+Inf"} 2',
        "mpitrain_request_seconds_sum 99.003",
        'mpitrain_batch_samples_bucket{le="4"} 1',
        "mpitrain_queue_samples 5",
        "mpitrain_draining 1",
        'mpitrain_rank_batches_total{ranks="0+1"} 0',
        'mpitrain_rank_late{ranks="2+3"} 0',
    ):
        assert line in lines
    kinds = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    for line in lines:
        if not line.startswith("#"):
            name = line.partition("{")[0].partition(" ")[0]
            assert name in kinds or name.rpartition("_")[0] in kinds
            float(line.rpartition(" ")[2])
