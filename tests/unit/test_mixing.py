"""Mixtures of pairs of a global batch: the same samples and targets however the batch is divided."""

import numpy as np
import pytest

from mpitrain.data import Augment, Loader, Normalizer, Split
from mpitrain.data.augment import Mixer, check_dataset
from mpitrain.data.augment.mix import CutMix, Mixup
from mpitrain.data.dataset import Dataset
from mpitrain.data.rng import MIXING, random_bits
from mpitrain.errors import UserError

SEED = int(np.random.SeedSequence().generate_state(1)[0])
RNG = np.random.default_rng(SEED)
X = RNG.integers(0, 256, (37, 6, 5, 3), dtype=np.uint8)
Y = RNG.integers(0, 4, 37)
IMAGES = Split(X, Y)
PIXELS = Split(X, RNG.integers(0, 5, (37, 6, 5)).astype(np.int8))
TABLE = Split(RNG.standard_normal((37, 4)), RNG.standard_normal((37, 2)))
NORMALIZER = Normalizer.fit(X)


@pytest.fixture(autouse=True)
def print_seed():
    print(f"seed {SEED}")


def make(split, text, **options):
    normalizer, targets = NORMALIZER, None
    if split is TABLE:
        normalizer, targets = Normalizer.fit(split.x), Normalizer.fit(split.y)
    augment = Augment(5, text=text, num_classes=4 if split is IMAGES else 0)
    given = {"batch_size": 10, "rank": 0, "size": 1, "seed": 5, "prefetch": 0} | options
    return Loader(split, normalizer=normalizer, target_normalizer=targets, augment=augment, **given)


def gather(loaders, epoch=1, start_step=0):
    """Return x, y and indices of each global batch, in its order."""
    steps = []
    for step in zip(*([copied(b) for b in loader.epoch(epoch, start_step)] for loader in loaders), strict=True):
        parts = [part for rank in step for part in rank]
        parts.sort(key=lambda part: (part[3], len(part[2])))
        steps.append([np.concatenate([part[i] for part in parts]) for i in range(3)])
    return steps


def copied(batches):
    return [(b.x.copy(), b.y.copy(), b.indices.copy(), b.first) for b in batches]


@pytest.mark.parametrize("split", [IMAGES, PIXELS, TABLE], ids=["images", "pixels", "table"])
@pytest.mark.parametrize("text", ["mixup:alpha=0.5", "cutmix", "shift-crop:pixels=1,mixup:share=0.5,flip"])
@pytest.mark.parametrize("options", [{}, {"microbatches": 3}, {"virtual_ranks": True}, {"prefetch": 2}], ids=str)
def test_they_are_the_same_on_any_number_of_ranks(split, text, options):
    if (split is PIXELS and "mixup" in text) or (split is TABLE and text != "mixup:alpha=0.5"):
        pytest.skip("refused")
    whole = gather([make(split, text)])
    for size in (1, 2, 3, 7, 40):
        ranks = [make(split, text, rank=rank, size=size, **options) for rank in range(size)]
        for found, expected in zip(gather(ranks), whole, strict=True):
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)


def plain_pairs(mixing, whole, part, epoch):
    """The pairs by plain loops: in the order of the random bits, each with the next one."""
    order = sorted(range(len(whole)), key=lambda i: random_bits(whole[i : i + 1], 5, MIXING, epoch)[0])
    partner = {order[k]: whole[order[(k + 1) % len(order)]] for k in range(len(order))}
    return [partner[i] for i in range(part.start, part.stop)]


def test_partners_form_a_circle():
    whole = RNG.permutation(1000)[:11]
    mixer = Mixer(Mixup(), 5, (4,))
    found = mixer.pairs(whole, slice(3, 9), 2)
    assert found.partners.tolist() == plain_pairs(Mixup(), whole, slice(3, 9), 2)
    everyone = mixer.pairs(whole, slice(0, 11), 2).partners
    assert sorted(everyone) == sorted(whole)
    assert (everyone != whole).all()
    assert mixer.pairs(whole[:1], slice(0, 1), 2).partners.tolist() == [whole[0]]
    assert not np.array_equal(everyone, mixer.pairs(whole, slice(0, 11), 3).partners)


@pytest.mark.parametrize("split", [IMAGES, TABLE], ids=["images", "table"])
def test_mixup_follows_the_formula(split):
    loader = make(split, "mixup:alpha=1")
    mixer = Mixer(Mixup(1.0), 5, split.x.shape[1:])
    images = split is IMAGES
    x = (split.x - NORMALIZER.mean) / NORMALIZER.std if images else (split.x - split.x.mean(0)) / split.x.std(0)
    y = np.eye(4)[Y] if images else (split.y - split.y.mean(0)) / split.y.std(0)
    for found_x, found_y, indices in gather([loader]):
        pairs = mixer.pairs(indices, slice(0, len(indices)), 1)
        for i, (index, partner, share) in enumerate(zip(indices, pairs.partners, pairs.shares.tolist(), strict=True)):
            np.testing.assert_allclose(found_x[i], share * x[index] + (1 - share) * x[partner], atol=1e-5)
            np.testing.assert_allclose(found_y[i], share * y[index] + (1 - share) * y[partner], atol=1e-6)
        assert found_y.dtype == found_x.dtype == np.float32
        assert 0.2 < pairs.shares.mean() < 0.8 or len(indices) < 8


@pytest.mark.parametrize("split", [IMAGES, PIXELS], ids=["images", "pixels"])
def test_cutmix_pastes_rectangles(split):
    mixer = Mixer(CutMix(), 5, X.shape[1:])
    x = NORMALIZER(X)
    pasted = 0
    for found_x, found_y, indices in gather([make(split, "cutmix")]):
        pairs = mixer.pairs(indices, slice(0, len(indices)), 1)
        for i, (index, partner) in enumerate(zip(indices, pairs.partners, strict=True)):
            top, bottom, left, right = pairs.boxes[i]
            expected, classes = x[index].copy(), split.y[index].copy()
            expected[top:bottom, left:right] = x[partner, top:bottom, left:right]
            np.testing.assert_array_equal(found_x[i], expected)
            share = 1 - (bottom - top) * (right - left) / 30
            if split is PIXELS:
                classes[top:bottom, left:right] = split.y[partner, top:bottom, left:right]
                np.testing.assert_array_equal(found_y[i], classes)
            else:
                mixed = share * np.eye(4)[classes] + (1 - share) * np.eye(4)[Y[partner]]
                np.testing.assert_allclose(found_y[i], mixed, atol=1e-6)
            pasted += share < 1
    assert pasted > 10


def test_partners_are_augmented_as_they_are_for_themselves():
    """With a share of 0 nothing is mixed; with mixup, what is taken from a partner is its own augmented image."""
    plain = gather([make(IMAGES, "shift-crop:pixels=2,flip")])
    for found, expected in zip(gather([make(IMAGES, "shift-crop:pixels=2,flip,mixup:share=0")]), plain, strict=True):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], np.eye(4)[expected[1]])
    mixer = Mixer(Mixup(1.0), 5, X.shape[1:])
    own = {index: x for xs, _, indices in plain for index, x in zip(indices.tolist(), xs, strict=True)}
    for x, _, indices in gather([make(IMAGES, "shift-crop:pixels=2,flip,mixup:alpha=1")]):
        pairs = mixer.pairs(indices, slice(0, len(indices)), 1)
        for i, (index, partner, share) in enumerate(zip(indices.tolist(), pairs.partners.tolist(), pairs.shares)):
            np.testing.assert_allclose(x[i], share * own[index] + (1 - share) * own[partner], atol=1e-5)


def test_resumed_in_the_middle():
    whole = gather([make(IMAGES, "random-resized-crop,mixup")])
    for found, expected in zip(
        gather([make(IMAGES, "random-resized-crop,mixup")], start_step=2), whole[2:], strict=True
    ):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_unused_parts_take_no_memory():
    loader = make(IMAGES, "mixup", inputs=False)
    ((batch,), *_) = loader.epoch(0)
    assert batch.x.shape == (10, 6, 5, 3)
    assert not any(batch.x.strides)
    loader = make(IMAGES, "mixup", targets=False)
    ((batch,), *_) = loader.epoch(0)
    assert batch.y.shape == (10, 4)
    assert not any(batch.y.strides)


def test_pixels_cannot_be_blended():
    data = Dataset("set", "segmentation", PIXELS, PIXELS, 5)
    check_dataset(Augment(0, text="cutmix"), data)
    with pytest.raises(UserError, match=r"mixup does not go with segmentation, .* cutmix does"):
        check_dataset(Augment(0, text="mixup"), data)
    with pytest.raises(UserError, match="cutmix needs images of shape"):
        check_dataset(Augment(0, text="cutmix"), Dataset("set", "regression", TABLE, TABLE, 2))
