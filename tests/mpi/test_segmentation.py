"""Segmentation: the same weights and scores on any number of ranks, where ranks have different numbers of labels."""

import numpy as np
import pytest

from mpitrain import Trainer
from mpitrain.data import Split, open_dataset
from mpitrain.data.dataset import UNLABELED, Dataset
from mpitrain.errors import AgreedError
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.training.outline import try_passes
from mpitrain.training.scoring.examples import examine
from mpitrain.training.scoring.scores import make_scoring

pytestmark = pytest.mark.mpi

MODEL = "unet:depth=1,width=4"
OPTIONS = {"epochs": 2, "batch_size": 7, "progress": "none", "threads": 1, "optimizer": "adam", "lr": 0.01}
SCORING = make_scoring(SoftmaxCrossEntropy(), None, 3, task="segmentation")
AUGMENTED = {"crop": 2, "flip": True, "class_weights": "balanced", "accumulate": 2, "metrics": ["f1", "miou"]}


def partly_labeled():
    """Images of which every third has no label, and others have few."""
    data = open_dataset("shapes:samples=35,size=13x10,seed=4")
    y = data.train.y.copy()
    y[::3] = UNLABELED
    y[1::3, 4:] = UNLABELED
    names = data.class_names
    return Dataset("part", data.task, Split(data.train.x, y), data.test, len(names), names)


def train(world, data, **options):
    options = OPTIONS | options
    if "steps" in options:
        del options["epochs"]
    trainer = Trainer(MODEL, data, world=world, **options)
    return trainer, trainer.fit().evaluations[-1]


@pytest.mark.parametrize("options", [AUGMENTED, {"batch_size": 1, "steps": 8}], ids=["augmented", "one image a step"])
def test_weights_are_those_of_one_rank(world, alone, options):
    data = partly_labeled()
    (trainer, found), (one, expected) = (train(each, data, **options) for each in (world, alone))
    np.testing.assert_allclose(trainer.setup.arena.values, one.setup.arena.values, atol=3e-4)
    assert list(found.test)[:3] == ["loss", "accuracy", "miou"]
    np.testing.assert_allclose(list(found.test.values()), list(expected.test.values()), atol=5e-3)
    np.testing.assert_allclose(found.train["loss"], expected.train["loss"], rtol=1e-4)


def test_a_pipeline(world, alone):
    if world.size > 4:
        pytest.skip("stages without parameters are tested elsewhere")
    data = partly_labeled()
    options = {"accumulate": 2}
    _, found = train(world, data, mesh=f"pipe={world.size}", **options)
    _, expected = train(alone, data, **options)
    assert found.test == expected.test
    assert found.train == expected.train


def test_rows_of_images_divided(world, alone):
    """Parts of an odd height; the outline has whole targets, of which each rank takes its part."""
    if world.size > 4:
        pytest.skip("fewer rows than ranks at the bottom of the network")
    data = partly_labeled()
    found = Trainer(MODEL, data, world=world, mesh=f"space={world.size}", **OPTIONS)
    assert try_passes(found.setup, found.config, world.size).train_bytes > 0
    (trainer, scores), (one, expected) = train(world, data, mesh=f"space={world.size}"), train(alone, data)
    for name, values in one.setup.arena.named_tensors().items():
        np.testing.assert_allclose(trainer.setup.arena.named_tensors()[name], values, atol=3e-4, err_msg=name)
    np.testing.assert_allclose(list(scores.test.values()), list(expected.test.values()), atol=5e-3)
    assert (trainer.predict(data.test.x) != one.predict(data.test.x)).mean() < 0.01


def test_scores_and_examples_do_not_depend_on_ranks(world, alone):
    data = open_dataset("shapes:samples=31,size=9,seed=1")
    facts = []
    for each in (world, alone):
        trainer = Trainer(MODEL, data, world=each, **OPTIONS | {"epochs": 1, "lr": 1e-9})  # the first weights
        trainer.fit()
        found = examine(trainer._evaluator(), data, SCORING)
        facts.append((found["confusion"], [sample["row"] for sample in found["worst"]], trainer.predict(data.test.x)))
    for one, other in zip(*facts, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_that_does_not_fit_ends_all_ranks(world):
    with pytest.raises(AgreedError, match=r"outputs of shape \(3,\) for an image, and segmentation needs \(8, 8, 3\)"):
        Trainer("convnet", open_dataset("shapes:samples=4,size=8"), world=world, **OPTIONS)
