"""Segmentation: augmented targets, scores, class weights, examples, and models that do not fit it."""

import numpy as np
import pytest

from mpitrain import Trainer, models
from mpitrain.context import Context
from mpitrain.data import Augment, Loader, Normalizer, Split, open_dataset
from mpitrain.data.dataset import UNLABELED, Dataset
from mpitrain.errors import UserError
from mpitrain.losses import SoftmaxCrossEntropy
from mpitrain.training.class_weights import class_weights_of
from mpitrain.training.network import check_objective
from mpitrain.training.scoring.evaluation import PIXELS, samples_at_once
from mpitrain.training.scoring.examples import examine
from mpitrain.training.scoring.maps import pictures
from mpitrain.training.scoring.scores import make_scoring
from tests.unit.test_run_examples import read_png

RNG = np.random.default_rng(8)
OPTIONS = {"epochs": 1, "progress": "none", "threads": 1}


def dataset(y, num_classes=3):
    split = Split(RNG.integers(0, 256, (*y.shape, 1), dtype=np.uint8), y)
    return Dataset("set", "segmentation", split, split, num_classes, tuple("abc"[:num_classes]))


@pytest.mark.parametrize("epoch", [0, 1])
def test_targets_move_with_their_pixels(epoch):
    """The classes are the values of the pixels, so that they stay equal; the padding has no label."""
    y = RNG.integers(1, 100, (23, 7, 6)).astype(np.int8)
    split = Split(y[..., None].astype(np.uint8), y)
    augment = Augment(3, crop=2, flip=True)
    loader = Loader(split, batch_size=10, rank=0, size=1, seed=1, normalizer=None, augment=augment, microbatches=2)
    moved = 0
    for batches in loader.epoch(epoch):
        for batch in batches:
            assert batch.y.dtype == np.int64
            labeled = batch.y != UNLABELED
            np.testing.assert_array_equal(batch.x[..., 0][labeled], batch.y[labeled])
            assert not batch.x[..., 0][~labeled].any()
            moved += int((~labeled).any(axis=(1, 2)).sum())
    assert moved > 10


def test_scores_are_exact_sums():
    targets = RNG.integers(0, 4, (9, 5, 6)).astype(np.int64)
    targets[:, 0, :3] = UNLABELED
    targets[4] = UNLABELED
    outputs = RNG.standard_normal((*targets.shape, 4)).astype(np.float32)
    scoring = make_scoring(SoftmaxCrossEntropy(), None, 4, task="segmentation")
    assert (scoring.metric, scoring.larger_is_better) == ("miou", True)
    found = []
    for parts in (1, 2, 9, 12):
        rows = np.array_split(np.arange(9), parts)
        sums = sum(scoring.sums(outputs[r], targets[r], Context(training=False)) for r in rows)
        assert sums.shape == (scoring.num_sums,)
        found.append(scoring.scores(sums, []))
    assert len({(scores["accuracy"], scores["miou"]) for scores in found}) == 1
    counted = targets != UNLABELED
    predicted, classes = outputs.argmax(axis=-1)[counted], targets[counted]
    union = [((predicted == k) | (classes == k)).sum() for k in range(4)]
    common = [((predicted == k) & (classes == k)).sum() for k in range(4)]
    assert found[0]["miou"] == pytest.approx(np.mean(np.divide(common, union)), rel=1e-14)
    assert found[0]["accuracy"] == (predicted == classes).mean()
    logits = outputs[counted].astype(np.float64)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(classes)), classes]
    assert found[0]["loss"] == pytest.approx(losses.mean(), rel=1e-5)


def test_no_pixel_with_a_label():
    scoring = make_scoring(SoftmaxCrossEntropy(), None, 2, task="segmentation")
    targets = np.full((2, 3, 3), UNLABELED)
    scores = scoring.scores(scoring.sums(np.zeros((2, 3, 3, 2), np.float32), targets, Context(training=False)), [])
    assert scores["loss"] == scores["accuracy"] == 0
    assert np.isnan(scores["miou"])


def test_class_weights_count_pixels():
    y = np.zeros((2, 2, 4), np.int8)
    y[0, 0] = 1
    y[1, 1, :2] = UNLABELED
    assert class_weights_of("balanced", dataset(y, 2)) == pytest.approx((14 / 2 / 10, 14 / 2 / 4))
    assert class_weights_of("b:5", dataset(y, 2)) == pytest.approx((14 / 30, 70 / 30))
    values = Split(np.zeros((2, 1)), np.zeros((2, 1)))
    with pytest.raises(UserError, match="for classification and segmentation: the task is regression"):
        class_weights_of("balanced", Dataset("table", "regression", values, values, 1))


def test_models_that_do_not_fit():
    shapes, digits = open_dataset("shapes:samples=2,size=8"), open_dataset("digits")
    for data, good, bad in ((shapes, "unet", "convnet"), (digits, "convnet", "unet")):
        check_objective(models.build(good, data.input_shape, data.num_outputs), data)
        with pytest.raises(UserError, match=f"the model gives outputs of shape .* {data.task} needs"):
            check_objective(models.build(bad, data.input_shape, data.num_outputs), data)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((9, 8, 8, 1), 256), ((9, 64, 64, 3), 256), ((9, 512, 512, 1), PIXELS >> 18), ((9, 4096, 4096, 1), 1)],
)
def test_large_images_are_evaluated_one_by_one(shape, expected):
    assert samples_at_once(np.broadcast_to(np.uint8(0), shape)) == expected


def test_examples_and_predictions():
    data = open_dataset("shapes:samples=15,size=17x12,seed=2")
    data.test.y[0, :3] = UNLABELED
    trainer = Trainer("unet:depth=1,width=4", data, **OPTIONS)
    trainer.fit()
    x, y = data.test.x, data.test.y
    outputs, predicted = trainer.outputs(x), trainer.predict(x)
    assert outputs.shape == (3, 17, 12, 3)
    np.testing.assert_array_equal(predicted, outputs.argmax(axis=-1))
    scoring = make_scoring(SoftmaxCrossEntropy(), None, 3, task="segmentation")
    facts = examine(trainer._evaluator(), data, scoring)
    matrix = np.zeros((3, 3), int)
    np.add.at(matrix, (y[y >= 0], predicted[y >= 0]), 1)
    assert facts["confusion"] == matrix.tolist()
    for sample in facts["worst"]:
        counted = y[sample["row"]] >= 0
        logits, classes = outputs[sample["row"]][counted].astype(float), y[sample["row"]][counted]
        loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(classes)), classes]
        assert sample["loss"] == pytest.approx(loss.mean(), rel=1e-4)
        assert sample["accuracy"] == pytest.approx((logits.argmax(axis=1) == classes).mean(), rel=1e-5)
        assert read_png(sample["image"]).shape == (17, 3 * 12 + 4, 3)
    test = trainer.evaluate((x, np.where(y < 0, -1, y)))
    assert test["accuracy"] == pytest.approx(matrix.trace() / matrix.sum())
    with pytest.raises(UserError, match=r"a class that the model does not know: '3' \(of 1 pixels\)"):
        trainer.evaluate((x, np.where(np.arange(y.size).reshape(y.shape) == 600, 3, np.abs(y) % 3)))


@pytest.mark.parametrize("shape", [(64, 64, 1), (65, 130, 3), (200, 33, 1)])
def test_pictures_of_large_images(shape):
    images, classes = RNG.random((2, *shape)), RNG.integers(-1, 3, (2, *shape[:2]))
    classes[classes < 0] = UNLABELED
    for found in pictures(images, classes, np.maximum(classes, 0)):
        height, width, channels = read_png(found["image"]).shape
        assert channels == 3
        assert height <= 64
        assert width <= 3 * 64 + 8


def test_a_normalizer_leaves_classes_alone():
    data = open_dataset("shapes:samples=10,size=8")
    loader = Loader(data.train, batch_size=4, rank=0, size=1, seed=0, normalizer=Normalizer.fit(data.train.x))
    for (batch,) in loader.epoch():
        np.testing.assert_array_equal(batch.y, data.train.y[batch.indices])
