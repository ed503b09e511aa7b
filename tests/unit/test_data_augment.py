import numpy as np
import pytest

from mpitrain.data import Augment
from mpitrain.data.augment import Augmenter, Draws
from mpitrain.data.rng import AUGMENT
from mpitrain.errors import UserError

X = np.random.default_rng(6).integers(1, 256, (40, 7, 6, 3), dtype=np.uint8)
INDICES = np.arange(40)


def augmented(settings, x=X, epoch=0, indices=INDICES):
    out = x.copy()
    Augmenter(settings, x.shape[1:], x.dtype)(out, indices, epoch)
    return out


def variants(image, crop, flip):
    padded = np.pad(image, ((crop, crop), (crop, crop), (0, 0)))
    height, width = image.shape[:2]
    for down in range(2 * crop + 1):
        for right in range(2 * crop + 1):
            part = padded[down : down + height, right : right + width]
            yield (down, right, False), part
            if flip:
                yield (down, right, True), part[:, ::-1]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("crop", "flip"), [(0, True), (2, False), (1, True), (5, True)])
def test_each_is_a_crop_of_the_padded_image(crop, flip, dtype):
    seen = set()
    for image, out in zip(X, augmented(Augment(1, crop, flip), X.astype(dtype))):
        found = [key for key, variant in variants(image, crop, flip) if np.array_equal(variant, out)]
        assert found
        seen.add(found[0])
    assert len(seen) > min(10, (2 * crop + 1) ** 2 * (1 + flip) / 2)


def test_draws_are_even():
    (step,) = Augment(1, crop=2, flip=True).steps()
    draws = step.augmentation.draw(Draws(np.arange(50_000), 1, AUGMENT, 0))
    for values, count in zip(draws, (5, 5, 2)):
        np.testing.assert_allclose(np.bincount(values, minlength=count) / 50_000, 1 / count, atol=0.01)
    assert abs(np.corrcoef(draws[0], draws[1])[0, 1]) < 0.02


def test_it_depends_on_seed_epoch_and_sample():
    settings = Augment(1, crop=3, flip=True)
    one = augmented(settings)
    np.testing.assert_array_equal(one, augmented(settings))
    assert not np.array_equal(one, augmented(settings, epoch=1))
    assert not np.array_equal(one, augmented(Augment(2, crop=3, flip=True)))
    assert not np.array_equal(one, augmented(settings, indices=INDICES + 1))


def test_no_samples():
    augmenter = Augmenter(Augment(1, 2), (4, 4, 1), np.dtype(np.uint8))
    augmenter(np.empty((0, 4, 4, 1), np.uint8), np.empty(0, np.int64), 0)


def test_tables_cannot_be_cropped():
    with pytest.raises(UserError, match=r"crops and flips need images of shape \(H, W, C\), .* \(5,\)"):
        Augmenter(Augment(1, 2), (5,), np.dtype(np.float32))
