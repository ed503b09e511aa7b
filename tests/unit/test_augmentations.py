"""Augmentations against Pillow and plain loops; their draws against the distributions that they come from."""

import colorsys

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from mpitrain.data.augment import AUGMENTATIONS, Augment, Augmenter, Draws, affine, check_augment, color
from mpitrain.data.augment.mix import Beta, CutMix
from mpitrain.data.augment.rand_augment import COLORS, GEOMETRIC, OPS
from mpitrain.data.augment.resize import RandomResizedCrop, resize
from mpitrain.errors import UserError

SEED = int(np.random.SeedSequence().generate_state(1)[0])
RNG = np.random.default_rng(SEED)
SINGLE = [name for name in AUGMENTATIONS if name not in ("mixup", "cutmix")]


@pytest.fixture(autouse=True)
def print_seed():
    print(f"seed {SEED}")


def images(n=12, size=(13, 10), channels=3, dtype=np.uint8):
    """Return images whose values have various ranges, and neighbors that are alike."""
    x = RNG.integers(1, 256, (n, *size, channels)).cumsum(axis=1) / np.arange(1, size[0] + 1)[:, None, None]
    x *= RNG.uniform(0.2, 1, (n, 1, 1, 1))
    x += RNG.uniform(1, 30, (n, 1, 1, 1))
    return np.clip(x, 0, 255).astype(dtype)


def by_pillow(x, function):
    return np.stack([np.asarray(function(Image.fromarray(image.squeeze()), i)) for i, image in enumerate(x)])


FACTORS = RNG.uniform(0, 2.2, 12)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (color.brightness, ImageEnhance.Brightness),
        (color.contrast, ImageEnhance.Contrast),
        (color.color, ImageEnhance.Color),
        (color.sharpness, ImageEnhance.Sharpness),
    ],
)
def test_enhancements_are_those_of_pillow(ours, theirs, channels):
    x = images(channels=channels)
    expected = by_pillow(x, lambda image, i: theirs(image).enhance(FACTORS[i]))
    ours(x, FACTORS)
    assert np.abs(x.reshape(expected.shape).astype(int) - expected).max() <= 1  # float32 just below a whole number
    assert (x.reshape(expected.shape) == expected).mean() > 0.999


@pytest.mark.parametrize("channels", [1, 3])
def test_tables_are_those_of_pillow(channels):
    x = images(channels=channels)
    x[0], x[1, :, :, 0] = 77, 0
    bits, thresholds = RNG.integers(1, 9, 12), RNG.integers(0, 257, 12).astype(float)
    for ours, theirs in (
        (lambda y: color.posterize(y, bits), lambda image, i: ImageOps.posterize(image, int(bits[i]))),
        (lambda y: color.solarize(y, thresholds), lambda image, i: ImageOps.solarize(image, int(thresholds[i]))),
        (color.autocontrast, lambda image, i: ImageOps.autocontrast(image)),
        (color.equalize, lambda image, i: ImageOps.equalize(image)),
    ):
        y = x.copy()
        ours(y)
        expected = by_pillow(x, theirs)
        np.testing.assert_array_equal(y.reshape(expected.shape), expected)


def test_hue_is_that_of_colorsys():
    x = images()
    shifts = RNG.uniform(-0.5, 0.5, len(x))
    shifts[0] = 0
    y = x.copy()
    color.hue(y, shifts)
    for image, found, shift in zip(x, y, shifts, strict=True):
        for pixel, result in zip(image.reshape(-1, 3)[::7], found.reshape(-1, 3)[::7], strict=True):
            h, s, v = colorsys.rgb_to_hsv(*pixel.tolist())
            np.testing.assert_allclose(result, colorsys.hsv_to_rgb((h + shift) % 1, s, v), atol=0.51)
    np.testing.assert_array_equal(y[0], x[0])


@pytest.mark.parametrize(("dtype", "atol"), [(np.float32, 1e-3), (np.float64, 1e-9), (np.uint8, 0.5001)])
def test_resized_parts_are_bilinear(dtype, atol):
    """Against Pillow for float32, and against its formula in plain loops for all."""
    x = images(dtype=dtype, channels=1)
    boxes = RandomResizedCrop(0.1, 2.0).boxes(Draws(np.arange(12), SEED), x.shape[1:3])
    y = x.copy()
    resize(y, boxes)
    height, width = x.shape[1:3]
    for image, found, top, left, h, w in zip(x[..., 0].astype(float), y[..., 0], *boxes, strict=True):
        part = image[top : top + h, left : left + w]
        expected = np.empty((height, width))
        for i in range(height):
            for j in range(width):
                v, u = min(max((i + 0.5) * h / height - 0.5, 0), h - 1), min(max((j + 0.5) * w / width - 0.5, 0), w - 1)
                a, b = int(v), int(u)
                c, d = min(a + 1, h - 1), min(b + 1, w - 1)
                upper = part[a, b] + (u - b) * (part[a, d] - part[a, b])
                lower = part[c, b] + (u - b) * (part[c, d] - part[c, b])
                expected[i, j] = upper + (v - a) * (lower - upper)
        np.testing.assert_allclose(found, expected, atol=atol)
        if dtype == np.float32:
            pillow = Image.fromarray(part.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
            np.testing.assert_allclose(found, np.asarray(pillow), atol=atol)


def test_parts_have_even_areas_and_ratios():
    crop = RandomResizedCrop(0.25, 2.0)
    top, left, h, w = crop.boxes(Draws(np.arange(20_000), 1), (1000, 2000))
    area, ratio = h * w / 2e6, (w / 2000) / (h / 1000)
    assert area.min() >= 0.249
    assert 0.495 < ratio.min() < 0.52
    assert 1.95 < ratio.max() < 2.02
    assert abs(np.log(ratio)[area < 0.5].mean()) < 0.01
    low = area[area < 0.5]  # where all ratios fit, areas are uniform
    np.testing.assert_allclose(np.histogram(low, 5, (0.25, 0.5))[0] / len(low), 0.2, atol=0.02)
    assert (top + h <= 1000).all()
    assert (left + w <= 2000).all()
    np.testing.assert_allclose([(top / (1001 - h)).mean(), (left / (2001 - w)).mean()], 0.5, atol=0.01)


@pytest.mark.parametrize("name", list(GEOMETRIC))
def test_transforms_are_those_of_pillow(name):
    x = images(channels=1, size=(15, 20)).astype(np.float32)  # Pillow cuts off fractions of bytes, and we round them
    signs = np.where(np.arange(12) % 2, 1.0, -1.0)
    matrices = GEOMETRIC[name](0.8, signs, x.shape[1:3])
    assert not np.allclose(matrices[0], matrices[1])
    y, rounded, classes = x.copy(), x.astype(np.uint8), x.astype(np.int16)
    expected = by_pillow(
        x, lambda image, i: image.transform(image.size, Image.AFFINE, matrices[i].reshape(-1), Image.BILINEAR)
    )
    nearest = by_pillow(
        x, lambda image, i: image.transform(image.size, Image.AFFINE, matrices[i].reshape(-1), Image.NEAREST)
    )
    for array in (y, rounded):
        affine.transform(array, matrices, 0)
    affine.transform_classes(classes, matrices, -100)
    same = np.abs(y[..., 0] - expected) < 1e-2
    assert same.mean() > 0.99  # but for places on the edge to the last digit
    assert (np.abs(rounded[..., 0] - expected) < 0.52)[same].all()
    assert (classes[..., 0] == np.where(nearest > 0, nearest, -100)).mean() > 0.99


def test_a_turn_is_counterclockwise_about_the_center():
    x = images(size=(14, 14))
    y = x.copy()
    affine.transform(y, affine.rotation(np.full(12, 90.0), (14, 14)), 0)
    np.testing.assert_array_equal(y, np.rot90(x, axes=(1, 2)))


@pytest.mark.parametrize("text", ["cutout:size=4,holes=2,fill=black", "random-erasing", "time-mask:width=5,count=2"])
def test_erased_parts(text):
    x = RNG.integers(1, 5, (500, 13, 10, 1)).astype(np.float32)
    y = x.copy()
    Augmenter(Augment(SEED, text=text), x.shape[1:], x.dtype, mean=np.array([9.5]))(y, np.arange(500), 0)
    fill = 0 if "black" in text else 9.5
    assert np.isin(y[y != x], fill).all()
    count = (y != x).sum(axis=(1, 2, 3))
    if "cutout" in text:
        assert 16 <= count.max() <= 32
        assert count.min() >= 4
        assert 16 < count.mean() < 32
    elif "time" in text:
        assert (count % 10 == 0).all()
        assert 80 <= count.max() <= 100
        np.testing.assert_allclose(count.mean(), 46, atol=8)  # two masks of 2.5 frames, without what they share
    else:
        assert 0.4 < (count > 0).mean() < 0.6
        assert 0.25 * 130 < count.max() <= 0.4 * 130


def test_rand_augment_draws_evenly():
    x = np.tile(images(1, (8, 8)), (3000, 1, 1, 1))
    alone = [x[:1].copy() for _ in OPS]
    signs = np.ones(1)
    plus = []
    for name, y in zip(OPS, alone, strict=True):
        if name in COLORS:
            COLORS[name](y, 0.5, signs)
        else:
            affine.transform(y, GEOMETRIC[name](0.5, signs, (8, 8)), 0)
        plus.append(y[0])
    y = x.copy()
    Augmenter(Augment(SEED, text="rand-augment:n=1,magnitude=15"), x.shape[1:], x.dtype)(y, np.arange(3000), 0)
    for name, expected in zip(OPS, plus, strict=True):
        same = (y == expected).all(axis=(1, 2, 3)).mean()
        share = 1 if name in ("identity", "posterize", "solarize", "autocontrast", "equalize") else 0.5
        assert same > 0.7 * share / len(OPS), name


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.5])
def test_beta_has_its_moments(alpha):
    """Mean 1/2, variance 1 / (4 (2 alpha + 1)), fourth central moment 3 / (16 (2 alpha + 1) (2 alpha + 3))."""
    x = Beta(alpha)((np.arange(100_000) + 0.5) / 100_000) - 0.5
    assert abs(x.mean()) < 1e-9
    np.testing.assert_allclose((x**2).mean(), 1 / (4 * (2 * alpha + 1)), rtol=1e-3)
    np.testing.assert_allclose((x**4).mean(), 3 / (16 * (2 * alpha + 1) * (2 * alpha + 3)), rtol=2e-3)


def test_boxes_of_cutmix():
    shares, boxes = CutMix().shares(Draws(np.arange(5000), SEED), (20, 30, 3))
    area = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    np.testing.assert_allclose(shares, 1 - area / 600, rtol=1e-6)
    assert (boxes >= 0).all()
    assert (boxes <= [20, 20, 30, 30]).all()
    assert 0.6 < shares.mean() < 0.75  # 0.5 without the part that is cut off


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_each_depends_on_seed_epoch_and_sample_only(name, dtype):
    x = images(40, (16, 12), 3, dtype)
    settings = Augment(SEED, text=name)
    if name in ("color-jitter", "rand-augment") and dtype == np.float32:
        with pytest.raises(UserError, match="needs images of uint8"):
            Augmenter(settings, x.shape[1:], x.dtype)
        return
    augment = Augmenter(settings, x.shape[1:], x.dtype, np.full(3, 100.0))
    indices = RNG.permutation(1000)[:40]
    whole = x.copy()
    augment(whole, indices, 3)
    assert (whole != x).any(axis=(1, 2, 3)).mean() > 0.3
    for part in (slice(0, 7), slice(7, 7), slice(7, 40)):
        y = x[part].copy()
        augment(y, indices[part], 3)
        np.testing.assert_array_equal(y, whole[part])
    order = RNG.permutation(40)
    y = x[order].copy()
    augment(y, indices[order], 3)
    np.testing.assert_array_equal(y, whole[order])
    y = x.copy()
    augment(y, indices, 4)
    assert (y != whole).any()


def test_others_beside_it_change_nothing():
    """A name is the key of the numbers: a second one of a name gets others, and an unrelated one in front none."""
    x = np.ones((30, 12, 12, 1), np.float32)
    found = []
    for text in ("cutout:size=3", "flip,cutout:size=3", "cutout:size=3,cutout:size=3"):
        y = x.copy()
        Augmenter(Augment(1, text=text), x.shape[1:], x.dtype)(y, np.arange(30), 0)
        found.append(y)
    np.testing.assert_array_equal(found[0], found[1])
    assert found[2].sum() < found[0].sum()


@pytest.mark.parametrize(
    "name", ["shift-crop", "random-resized-crop:scale=0.2", "rand-augment:n=3,magnitude=25", "flip"]
)
def test_classes_move_with_pixels(name):
    """Images of one value in each quarter: far from edges, pixels and classes stay equal."""
    y = np.zeros((60, 24, 24, 1), np.int16)
    y[:, :12, 12:], y[:, 12:, :12], y[:, 12:, 12:] = 40, 90, 200
    x = y.astype(np.uint8)
    settings = Augment(SEED, text=name)
    Augmenter(settings, x.shape[1:], x.dtype)(x, np.arange(60), 2)
    Augmenter(settings, y.shape[1:], y.dtype, fill=-100)(y, np.arange(60), 2)
    assert set(np.unique(y)) <= {-100, 0, 40, 90, 200}
    if "rand" in name and "crop" not in name:  # colors have changed, too: places only
        assert (y == -100).any()
        for image, classes in zip(x, y, strict=True):
            for value in (40, 90, 200):
                some = image[classes == value]
                assert some.size == 0 or np.median(np.abs(some - np.median(some.astype(float)))) <= 30
        return
    labeled = y != -100
    assert (x == y)[labeled].mean() > 0.85
    assert not x[~labeled].any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flop", "there is no augmentation 'flop'; did you mean 'flip'"),
        ("cutout:sise=3", "the augmentation 'cutout' has no option 'sise'"),
        ("cutout:size=0", "the augmentation 'cutout': size is 0, but must be 1 or more"),
        ("cutout:fill=pink", "fill is 'pink', but must be one of mean, black"),
        ("random-resized-crop:scale=nan", "scale is nan, but must be from 0.001 to 1"),
        ("rand-augment:magnitude=31", "magnitude is 31, but must be from 0 to 30"),
        ("mixup,cutmix", "has mixup and cutmix: samples can be mixed once only"),
        ("mixup:alpha=0", "alpha is 0, but must be from 0.01 to 1000"),
        ("time-mask:width=9", "time-mask: width is 9, but the samples have only 8 frames"),
        ("shift-crop:pixels=8", "a crop of 8 shifts images of 8 x 8 out of sight"),
        ("none.py:f", "there is no file none.py"),
    ],
)
def test_bad_texts(text, message):
    settings = Augment(0, text=text)
    with pytest.raises(UserError) as error:
        check_augment(settings, (8, 8, 3))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"), [((8, 8, 4), np.uint8, "have 4 channels"), ((5,), np.uint8, "(5,)")]
)
@pytest.mark.parametrize("text", ["color-jitter", "rand-augment"])
def test_colors_need_gray_or_rgb(text, shape, dtype, message):
    with pytest.raises(UserError) as error:
        Augmenter(Augment(0, text=text), shape, np.dtype(dtype))
    assert message in str(error.value)


FUNCTIONS = """
import numpy as np

def noise(image, rng, size=3):
    return (image + rng.integers(0, size, image.shape)).astype(image.dtype)

def wild(image, rng):
    return image + np.random.random(image.shape).astype(image.dtype)

def wider(image, rng):
    return image.astype(np.float64)

def broken(image, rng):
    return image / {}

def lonely(image):
    return image

def upside_down(image, rng, labels=False):
    return image[::-1] if rng.random() < 0.5 else image
"""


@pytest.fixture
def functions(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FUNCTIONS)
    return path


def test_a_function_of_the_users(functions):
    x = images(30, dtype=np.float32)
    augment = Augmenter(Augment(SEED, text=f"{functions}:noise:size=5"), x.shape[1:], x.dtype)
    y, z = x.copy(), x[10:].copy()
    augment(y, np.arange(30), 1)
    augment(z, np.arange(10, 30), 1)
    np.testing.assert_array_equal(y[10:], z)
    assert set(np.unique(np.rint(y - x))) == set(range(5))


def test_a_function_that_moves_pixels(functions):
    x = images(30, channels=1)
    y = x.astype(np.int16)
    settings = Augment(SEED, text=f"{functions}:upside_down")
    Augmenter(settings, x.shape[1:], x.dtype)(x, np.arange(30), 0)
    before = y.copy()
    Augmenter(settings, y.shape[1:], y.dtype, fill=-100)(y, np.arange(30), 0)
    np.testing.assert_array_equal(x, y)
    assert 0.1 < (y == before).all(axis=(1, 2, 3)).mean() < 0.9


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wild", "gives two results for the same image: draw all random numbers from its rng"),
        ("wider", "must return an image like the one it got, float32 (4, 4, 1), but it returned float64 (4, 4, 1)"),
        ("broken", "failed: TypeError"),
        ("lonely", "must take (image, rng)"),
        ("noise:sice=3", "has no option 'sice'"),
    ],
)
def test_bad_functions(functions, name, message):
    with pytest.raises(UserError) as error:
        Augmenter(Augment(0, text=f"{functions}:{name}"), (4, 4, 1), np.dtype(np.float32))
    assert message in str(error.value)
