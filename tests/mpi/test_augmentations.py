"""Augmentation and mixtures of samples: the same weights and scores on any number of ranks."""

import numpy as np
import pytest

from mpitrain import Trainer
from mpitrain.data import Split, open_dataset
from mpitrain.data.dataset import Dataset
from mpitrain.errors import AgreedError

pytestmark = pytest.mark.mpi

OPTIONS = {"epochs": 2, "batch_size": 11, "progress": "none", "threads": 1, "lr": 0.02}
GEOMETRIC = "random-resized-crop:scale=0.5,rand-augment:n=2,magnitude=9,cutout:size=3"


def pictures():
    """Images of bytes, RGB, in four classes."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 128, (70, 8, 7, 3), dtype=np.uint8)
    y = rng.integers(0, 4, 70)
    x[np.arange(70), y] += 100
    return Dataset("set", "classification", Split(x[:50], y[:50]), Split(x[50:], y[50:]), 4, tuple("abcd"))


def train(world, data, model="convnet", **options):
    trainer = Trainer(model, data, world=world, **OPTIONS | options)
    return trainer, trainer.fit().evaluations[-1]


@pytest.mark.parametrize(
    "options",
    [
        {"augment": GEOMETRIC},
        {"augment": f"{GEOMETRIC},mixup:alpha=0.4", "accumulate": 2, "label_smoothing": 0.1},
        {"augment": "cutmix", "crop": 1, "flip": True, "class_weights": "balanced"},
    ],
    ids=["alone", "mixup", "cutmix"],
)
def test_weights_are_those_of_one_rank(world, alone, options):
    data = pictures()
    (trainer, found), (one, expected) = (train(each, data, **options) for each in (world, alone))
    np.testing.assert_allclose(trainer.setup.arena.values, one.setup.arena.values, atol=3e-4)
    np.testing.assert_allclose(found.train["loss"], expected.train["loss"], rtol=1e-4)
    np.testing.assert_allclose(found.train["accuracy"], expected.train["accuracy"], rtol=1e-5)


def test_bits_are_those_of_one_rank_in_reproducible_mode(world, alone):
    if world.size & (world.size - 1):
        pytest.skip("shards are a power of two")
    options = {"augment": f"{GEOMETRIC},mixup", "reproducible": 8}
    (trainer, _), (one, _) = (train(each, pictures(), **options) for each in (world, alone))
    np.testing.assert_array_equal(trainer.setup.arena.values, one.setup.arena.values)


@pytest.mark.parametrize("mesh", ["pipe", "tensor"])
def test_meshes(world, alone, mesh):
    if not 1 < world.size < 4:
        pytest.skip("a small model")
    options = {"augment": "flip,mixup:alpha=1", "model": "mlp:widths=12+12", "accumulate": 2}
    _, found = train(world, pictures(), mesh=f"{mesh}={world.size}", **options)
    _, expected = train(alone, pictures(), **options)
    np.testing.assert_allclose(found.train["loss"], expected.train["loss"], rtol=1e-4)
    np.testing.assert_allclose(found.test["loss"], expected.test["loss"], rtol=1e-4)


def test_regression(world, alone):
    rng = np.random.default_rng(4)
    x = rng.standard_normal((40, 5))
    y = x @ rng.standard_normal((5, 2))
    data = Dataset("table", "regression", Split(x[:30], y[:30]), Split(x[30:], y[30:]), 2)
    options = {"augment": "mixup:alpha=1", "model": "mlp:widths=6"}
    found, expected = (train(each, data, **options)[1] for each in (world, alone))
    np.testing.assert_allclose(found.train["loss"], expected.train["loss"], rtol=1e-4)


def test_segmentation(world, alone):
    data = open_dataset("shapes:samples=30,size=13x10,seed=4")
    options = {"augment": "rand-augment:n=1,magnitude=20,cutmix", "model": "unet:depth=1,width=4"}
    (trainer, found), (one, expected) = (train(each, data, **options) for each in (world, alone))
    np.testing.assert_allclose(trainer.setup.arena.values, one.setup.arena.values, atol=3e-4)
    np.testing.assert_allclose(found.train["loss"], expected.train["loss"], rtol=1e-4)


def test_refused_on_all_ranks(world):
    with pytest.raises(AgreedError, match="mixup does not go with segmentation"):
        Trainer(
            "unet:depth=1,width=4", open_dataset("shapes:samples=30"), world=world, augment="mixup", **OPTIONS
        ).fit()
