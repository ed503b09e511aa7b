"""Metrics by name, from a file and from Python; mistakes in their names and options."""

import numpy as np
import pytest

from mpitrain.errors import UserError
from mpitrain.metrics import Metric, make_metric, make_metrics, split_metrics
from tests.metric_results import one, results


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acuracy", "there is no metric 'acuracy'; did you mean 'accuracy'\\? "),
        ("topk:j=3", "the metric 'topk' has no option 'j'; it has k"),
        ("topk:k=0", "the metric 'top0' needs 1 classes or more"),
        ("top5", "the metric 'top5' needs 5 classes or more, and there are 3"),
        ("f1:average=mean", "average is 'mean', but must be one of macro, micro, weighted, binary"),
        ("f1:average=binary", "is for two classes, and there are 3"),
        ("mae", "the metric 'mae' is for regression, and the task is classification"),
        ("accuracy,topk:k=1,accuracy", "the metric 'accuracy' is given twice"),
    ],
)
def test_mistakes_are_explained(text, message):
    with pytest.raises(UserError, match=message):
        make_metrics(text, 3, "classification")


FILE = """
import numpy as np
from mpitrain.metrics import SummedMetric

def within(outputs, targets, distance=1):
    return np.mean(np.abs(outputs.argmax(axis=1) - targets) <= distance)

class Samples(SummedMetric):
    def __init__(self, num_outputs, factor=1):
        super().__init__(num_outputs, 1)
        self.factor = factor
    def update(self, outputs, targets, weights=None):
        self.sums.add(np.full((len(targets), 1), self.factor))
    def result(self):
        return self.sums.values()[0]

def short(outputs):
    return 1

def fails(outputs, targets):
    return 1 / 0

def text(outputs, targets):
    return "much"
"""


def test_metrics_of_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    outputs, targets = np.eye(4)[[0, 1, 3]], np.array([0, 2, 1])
    found = results(f"{path}:within,{path}:Samples:factor=2", outputs, targets, 2)
    assert found == {"within": 2 / 3, "samples": 6}
    assert one(f"{path}:within:distance=2", outputs, targets, 3) == 1
    with pytest.raises(UserError, match=r"must take \(outputs, targets\)"):
        make_metric(f"{path}:short", 4)
    with pytest.raises(UserError, match="no option 'far'; it has distance"):
        make_metric(f"{path}:within:far=2", 4)
    for name, message in (("fails", "fails failed: ZeroDivisionError"), ("text", "must return a number.*str")):
        with pytest.raises(UserError, match=message):
            one(f"{path}:{name}", outputs, targets)


def own(outputs, targets):
    return 0.0


def test_metrics_from_python():
    class Right(type(make_metric("accuracy", 2))):
        pass

    assert isinstance(make_metric(Right, 2), Metric)
    metric = Right(2)
    assert make_metric(metric, 2) is metric
    assert make_metric(own, 2).name == "own"


def test_options_and_metrics_are_told_apart():
    assert split_metrics("") == []
    assert split_metrics(" f1:average=micro, topk:k=3 ,auc,") == ["f1:average=micro", "topk:k=3", "auc"]
