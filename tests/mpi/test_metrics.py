"""Metrics on real ranks: the bits of one rank."""

import dataclasses

import numpy as np
import pytest

from mpitrain.config import Config, Model, Run
from mpitrain.data.sampler import share
from mpitrain.errors import AgreedError
from mpitrain.metrics import make_metrics
from mpitrain.training.build import make_loop
from mpitrain.training.display.progress_log import Silent
from mpitrain.training.setup import open_setup

pytestmark = pytest.mark.mpi


def mean_margin(outputs, targets):
    return np.mean(outputs.max(axis=1) - outputs[np.arange(len(targets)), targets])


CLASSES = ["accuracy", "top5", "f1", "f1:average=weighted", "auc", "ap", "ece", "brier", "confusion", mean_margin]


@pytest.mark.parametrize("count", [0, 1, 3, 500])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_metrics_are_those_of_one_rank(world, task, count):
    rng = np.random.default_rng(count)
    outputs, targets = rng.standard_normal((count, 6)).astype(np.float32), rng.integers(0, 6, count)
    if task == "regression":
        targets = outputs + 10.0 ** rng.integers(-5, 5, (count, 6))
    specs = CLASSES if task == "classification" else ["mae", "r2"]
    found, expected = (make_metrics(specs, 6, task) for _ in range(2))
    rows = share(count, world.rank, world.size)
    found.update(outputs[rows], targets[rows])
    expected.update(outputs, targets)
    found.gather(world.all_gather)
    np.testing.assert_equal(found.results(), expected.results())


def test_metrics_of_a_run(world, alone):
    config = Config(model=Model(name="mlp", widths=(16,)), run=Run(epochs=2, metrics="top5,f1,auc,confusion"))
    found = []
    for w in (world, alone):
        loop = make_loop(config, open_setup(config, w), w, Silent(None, 1))
        loop.train()
        loop.run.data_parallel.free()
        found.append(loop.run.results)
    both, one = (results.evaluations[-1].test for results in found)
    assert list(both) == ["loss", "accuracy", "top5", "f1", "auc"]
    np.testing.assert_allclose(list(both.values()), list(one.values()), atol=5e-3)
    table = np.array(found[0].tables["confusion"])
    assert table.sum() == 360
    assert np.trace(table) / 360 == pytest.approx(both["accuracy"])


def test_a_metric_that_fails_ends_all_ranks(world, tmp_path_factory):
    path = tmp_path_factory.mktemp(f"metric{world.rank}") / "mine.py"
    path.write_text("def bad(outputs, targets):\n    raise ValueError('no idea')\n")
    config = Config(model=Model(name="mlp", widths=(4,)), run=Run(epochs=1, metrics=f"{path}:bad"))
    loop = make_loop(config, open_setup(config, world), world, Silent(None, 1))
    with pytest.raises(AgreedError, match="bad failed: ValueError: no idea"):
        loop.train()
    loop.run.data_parallel.free()
    missing = dataclasses.replace(config, run=Run(epochs=1, metrics="nosuch.py:bad"))
    with pytest.raises(AgreedError, match=r"nosuch\.py"):
        open_setup(missing, world)
