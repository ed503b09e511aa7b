"""Step times of a short training, on all ranks, and the facts for predictions."""

import time

import numpy as np
import pytest

from mpitrain import Trainer
from mpitrain.collectives.price import Calibration
from mpitrain.scaling.measured import typical_parts
from mpitrain.training.time_steps import time_steps

pytestmark = pytest.mark.mpi

WARM_UP, STEPS = 3, 12


@pytest.mark.parametrize("shard", ["auto", "none"])
def test_times_of_all_ranks_and_steps(world, shard):
    settings = {"batch_size": 200, "steps": WARM_UP + STEPS, "progress": "none", "shard": shard}  # two epochs
    trainer = Trainer("resnet8", "digits", world=world, **settings)
    begin = time.perf_counter()
    facts = time_steps(trainer.config, trainer.setup, world, trainer._display(), WARM_UP)
    seconds = time.perf_counter() - begin
    steps = np.array(facts["steps"])
    assert steps.shape == (world.size, STEPS, 4)
    assert (steps >= 0).all()
    assert (steps[:, :, 0] > 0).all()  # every rank computes in every step
    assert (steps.sum(axis=(1, 2)) < seconds).all()
    assert 0 < typical_parts(steps).total < seconds / STEPS
    assert 0 < facts["update"] < seconds
    assert facts["samples"] == len(trainer.setup.dataset.train)
    num_norms = 9  # of resnet8
    assert len(facts["statistics"]) == (2 * num_norms if world.size > 1 else 0)
    assert facts["statistics"][:1] == ([8 * (2 * 16 + 1)] if world.size > 1 else [])
    assert sum(facts["buckets"]) >= 4 * facts["parameters"]
    assert (facts["calibration"] is None) == (world.size == 1 or world.oversubscribed)
    if facts["calibration"] is not None:
        assert Calibration.from_json(facts["calibration"]).ranks == world.size
