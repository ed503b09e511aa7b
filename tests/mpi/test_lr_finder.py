"""The learning-rate range test: the steps that it makes, and that it leaves nothing behind."""

import math

import numpy as np
import pytest

from mpitrain import Hook, Trainer
from mpitrain.training.lr_finder import find_rates

pytestmark = pytest.mark.mpi

SETTINGS = {"batch_size": 40, "steps": 30, "progress": "none", "optimizer": "adam", "seed": 5}
GROWING = """
def growing(lr, total_steps, warmup_steps):
    return lambda step: 1e-4 * 1000 ** (step / (total_steps - 1))
"""


class Losses(Hook):
    def __init__(self):
        self.found = []

    def step_end(self, info):
        self.found.append(info.loss)


def test_the_steps_are_those_of_a_run_with_such_a_schedule(world, tmp_path):
    (tmp_path / "growing.py").write_text(GROWING)
    trainer = Trainer("mlp:widths=16", "digits", world=world, **SETTINGS)
    before = trainer.setup.arena.values.copy()
    curve = find_rates(trainer.config, trainer.setup, world, trainer._display(), 1e-4, 0.1)
    np.testing.assert_array_equal(trainer.setup.arena.values, before)
    assert not curve.diverged
    np.testing.assert_allclose(curve.rates, np.geomspace(1e-4, 0.1, 30), rtol=1e-9)

    noted = Losses()
    schedule = f"{tmp_path}/growing.py:growing"
    Trainer("mlp:widths=16", "digits", world=world, hooks=[noted], schedule=schedule, **SETTINGS).fit()
    assert curve.losses == noted.found
    assert world.all_gather(curve.losses) == [curve.losses] * world.size
    assert 1e-4 < curve.suggestion < 0.1


def test_training_goes_on_as_if_there_had_been_no_test(world):
    settings = SETTINGS | {"steps": 12}
    plain = Trainer("resnet8", "digits", world=world, **settings)  # it has running statistics
    wanted = plain.fit()
    trainer = Trainer("resnet8", "digits", world=world, **settings)
    find_rates(trainer.config, trainer.setup, world, trainer._display(), 1e-4, 10)
    found = trainer.fit()
    np.testing.assert_array_equal(trainer.setup.arena.values, plain.setup.arena.values)
    assert found.test == wanted.test


@pytest.mark.parametrize("highest", [1e4, 1e38])
def test_it_ends_where_the_loss_diverges(world, highest):
    settings = SETTINGS | {"optimizer": "sgd", "steps": 200}
    trainer = Trainer("mlp:widths=16", "digits", world=world, **settings)
    before = trainer.setup.arena.values.copy()
    curve = find_rates(trainer.config, trainer.setup, world, trainer._display(), 1e-3, highest)
    assert curve.diverged
    assert len(curve.losses) == len(curve.rates) < 200
    assert all(map(math.isfinite, curve.losses))
    assert world.all_gather(len(curve.losses)) == [len(curve.losses)] * world.size
    assert curve.suggestion is None or curve.suggestion <= curve.rates[curve.lowest]
    np.testing.assert_array_equal(trainer.setup.arena.values, before)
