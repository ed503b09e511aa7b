"""With --reproducible V the bits of all weights are the same on any number of ranks that divides V."""

import dataclasses

import numpy as np
import pytest

from mpitrain.config import Config, Data, Model, Optimizer, Parallel, Run
from mpitrain.errors import AgreedError
from mpitrain.training.build import make_loop
from mpitrain.training.display.progress_log import Silent
from mpitrain.training.setup import open_setup

pytestmark = pytest.mark.mpi

IMAGES = Config(
    data=Data(batch_size=100, crop=1, flip=True),  # 8 shards of 13 or 12 samples, in the last step of 5 or 4
    optimizer=Optimizer(clip_norm=1.0, weight_decay=1e-4),
    parallel=Parallel(reproducible=8, bucket_mb=0.05),
    run=Run(epochs=1),
)
DROPOUT = dataclasses.replace(
    IMAGES, model=Model(name="mlp", dropout=0.3), optimizer=Optimizer(name="adamw"), data=Data(batch_size=5)
)
NORMED = dataclasses.replace(IMAGES, model=Model(name="resnet8"), data=Data(batch_size=400))


def train(config, world):
    loop = make_loop(config, open_setup(config, world), world, Silent(None, 1))
    loop.train()
    loop.run.data_parallel.free()
    return loop


def bits(loop):
    arena, optimizer = loop.run.setup.arena, loop.run.optimizer
    return [array.tobytes() for array in (arena.values, arena.states, *optimizer.slots.values())]


@pytest.mark.parametrize("config", [IMAGES, DROPOUT, NORMED], ids=["images", "dropout", "batch-norm"])
def test_same_bits_on_any_number_of_ranks(world, alone, config):
    if 8 % world.size:
        with pytest.raises(AgreedError, match=f"--reproducible 8 cannot run on {world.size} ranks"):
            train(config, world)
        return
    together, one = train(config, world), train(config, alone)
    assert bits(together) == bits(one)
    assert together.run.results.evaluations[0].train == one.run.results.evaluations[0].train


def test_more_shards_than_samples_change_nothing(world):
    """Shards without samples are left out: a million of a step of 5 samples give the bits of 8."""
    if 8 % world.size:
        return
    few, many = (dataclasses.replace(DROPOUT, parallel=Parallel(reproducible=v, bucket_mb=0.05)) for v in (8, 1 << 20))
    found = train(many, world)
    assert found.run.loader.microbatches == 8 // world.size
    assert bits(found) == bits(train(few, world))


@pytest.mark.parametrize("all_reduce", ["ring", "native", "tree", "recursive_doubling"])
def test_same_bits_with_any_all_reduce(world, alone, all_reduce):
    if 8 % world.size:
        return
    parallel = dataclasses.replace(IMAGES.parallel, all_reduce=all_reduce)
    loop = train(dataclasses.replace(IMAGES, parallel=parallel), world)
    assert bits(loop) == bits(train(IMAGES, alone))
    if world.size > 2:
        kept = set(loop.run.data_parallel.algorithms) == {all_reduce}
        assert kept == (all_reduce in ("tree", "recursive_doubling"))


def test_it_is_the_gradient_of_the_batch(world, alone):
    if 8 % world.size:
        return
    plain = dataclasses.replace(NORMED, parallel=Parallel())
    losses = [train(config, w).run.results.evaluations[0] for config, w in ((NORMED, world), (plain, alone))]
    np.testing.assert_allclose(losses[0].train["loss"], losses[1].train["loss"], rtol=1e-4)
    np.testing.assert_allclose(losses[0].test["loss"], losses[1].test["loss"], rtol=1e-3)
