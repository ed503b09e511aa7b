"""Settings of a run on several ranks: the results are those of one rank."""

import numpy as np
import pytest

import mpitrain
from mpitrain.config import Config, Data, Model, Optimizer, Run
from mpitrain.training.build import make_loop
from mpitrain.training.display.progress_log import Silent
from mpitrain.training.setup import open_setup

pytestmark = pytest.mark.mpi


def train(config, world):
    loop = make_loop(config, open_setup(config, world), world, Silent(None, 1))
    loop.train()
    loop.run.data_parallel.free()
    return loop.run


def config_of(*, data=None, optimizer=None, run=None):
    return Config(
        data=Data(batch_size=100, **(data or {})),
        model=Model(name="mlp", widths=(16,)),
        optimizer=Optimizer(**(optimizer or {})),
        run=Run(**({"epochs": 2} | (run or {}))),
    )


def scores(run):
    return [[*r.train.values(), *r.validation.values(), *r.test.values()] for r in run.results.evaluations]


@pytest.mark.parametrize("weights", ["balanced", "0:3,7:0.1"])
def test_class_weights(world, alone, weights):
    config = config_of(optimizer={"class_weights": weights, "label_smoothing": 0.1})
    both, one = train(config, world), train(config, alone)
    np.testing.assert_allclose(scores(both), scores(one), atol=5e-3)
    assert both.setup.loss.class_weights == one.setup.loss.class_weights
    plain = train(config_of(optimizer={"label_smoothing": 0.1}), world)
    assert not np.allclose(scores(both), scores(plain), atol=1e-3)


def test_a_validation_split(world, alone):
    config = config_of(data={"validation": 0.1})
    both, one = train(config, world), train(config, alone)
    splits = both.setup.dataset.splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 1293, "validation": 144, "test": 360}
    for name, split in one.setup.dataset.splits.items():
        np.testing.assert_array_equal(split.x, splits[name].x)
    np.testing.assert_allclose(scores(both), scores(one), atol=5e-3)
    assert set(both.results.evaluations[0].validation) == {"loss", "accuracy"}


def test_options_of_the_optimizer_and_the_schedule(world, alone):
    settings = {"name": "adam:beta1=0.8,beta2=0.9,eps=0.01", "lr": 0.01, "schedule": "cosine:min_lr=0.009"}
    both, one = (train(config_of(optimizer=settings), w) for w in (world, alone))
    np.testing.assert_allclose(scores(both), scores(one), atol=5e-3)
    assert both.results.evaluations[-1].lr == pytest.approx(0.009, rel=0.01)


def test_lines_of_a_run_by_steps(world, capsys):
    result = mpitrain.Trainer("mlp:widths=8", steps=30, evaluate_every="0.5e", metrics="f1", progress="lines").fit()
    lines = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert lines == (["step 12/30", "step 24/30", "step 30/30"] if world.rank == 0 else [])
    assert set(result.test) == {"loss", "accuracy", "f1"}
