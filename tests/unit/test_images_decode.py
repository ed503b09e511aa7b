"""Decoding of image files: kinds of pixels, orientation, scaling and crops against plain steps of Pillow and NumPy."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from mpitrain.data.images.decode import Shape, Undecodable, decode
from mpitrain.errors import UserError

RNG = np.random.default_rng(5)


def smooth(height, width, channels=3):
    """An image without details, which survives JPEG and any filter nearly unchanged."""
    down, across = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    tones = np.arange(1, channels + 1) / channels
    return (40 + 170 * np.abs(np.sin(2 * down * tones + 1.5 * across))).astype(np.uint8)


def save(path, image, **options):
    image.save(path, **options)
    return str(path)


@pytest.fixture
def color(tmp_path):
    pixels = smooth(30, 44)
    return save(tmp_path / "color.png", Image.fromarray(pixels)), pixels


def test_pixels_as_they_are(color):
    path, pixels = color
    found, facts = decode(path, Shape(30, 44))
    np.testing.assert_array_equal(found, pixels)
    assert (facts.kind, facts.sizes) == ("PNG RGB", {"width": 44, "height": 30})
    np.testing.assert_array_equal(decode(path, Shape(30, 44, fit="same"))[0], pixels)


def modes():
    gray, color = smooth(20, 28, 1)[..., 0], smooth(20, 28)
    alpha = RNG.integers(0, 256, (20, 28, 1)).astype(np.uint8)
    share = alpha / 255
    on_white = np.rint(share * color + (1 - share) * 255)
    gray_on_white = np.rint(share[..., 0] * gray + (1 - share[..., 0]) * 255)
    palette = Image.fromarray(color).quantize(64)
    clear = palette.copy()
    clear.info["transparency"] = 3
    of_palette = np.array(palette.convert("RGB"))
    of_clear = np.where((np.array(palette) == 3)[..., None], 255, of_palette)
    ramp = np.linspace(0, 65535, 560).reshape(20, 28)
    wide = ramp.astype(np.uint16)
    yield "L.png", Image.fromarray(gray), np.repeat(gray[..., None], 3, 2)
    yield "1.png", Image.fromarray(gray > 120), np.repeat(255 * (gray > 120)[..., None], 3, 2)
    yield "P.png", palette, of_palette
    yield "P-clear.png", clear, of_clear
    yield "P.gif", palette, of_palette
    yield "LA.png", Image.fromarray(np.dstack([gray, alpha])), np.repeat(gray_on_white[..., None], 3, 2)
    yield "RGBA.png", Image.fromarray(np.dstack([color, alpha])), on_white
    yield "RGBA.webp", Image.fromarray(np.dstack([color, alpha])), on_white
    yield "I16.png", Image.fromarray(wide), np.repeat(np.rint(wide / 257)[..., None], 3, 2)
    yield "I16B.tif", Image.fromarray(wide.astype(">u2")), np.repeat(np.rint(wide / 257)[..., None], 3, 2)
    yield "I.tif", Image.fromarray(wide.astype(np.int32)), np.repeat(np.rint(wide / 257)[..., None], 3, 2)
    yield "CMYK.tif", Image.fromarray(color).convert("CMYK"), color
    yield "RGB.bmp", Image.fromarray(color), color
    yield "RGB.ppm", Image.fromarray(color), color


@pytest.mark.parametrize(("name", "image", "expected"), list(modes()), ids=lambda v: v if isinstance(v, str) else "")
def test_kinds_of_pixels(tmp_path, name, image, expected):
    options = {"lossless": True, "exact": True} if name.endswith("webp") else {}
    if "transparency" in image.info:
        options["transparency"] = image.info["transparency"]
    path = save(tmp_path / name, image, **options)
    found, _ = decode(path, Shape(20, 28))
    assert np.abs(found.astype(int) - expected).max() <= 1
    gray, _ = decode(path, Shape(20, 28, 1))
    assert gray.shape == (20, 28, 1)
    luma = expected @ np.array([0.299, 0.587, 0.114])
    assert np.abs(gray[..., 0] - luma).max() <= 2


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(tmp_path, mode):
    pixels = smooth(40, 56)
    path = save(tmp_path / "a.jpg", Image.fromarray(pixels).convert(mode), quality=98, subsampling=0)
    expected = pixels if mode != "L" else np.repeat(np.array(Image.fromarray(pixels).convert("L"))[..., None], 3, 2)
    assert np.abs(decode(path, Shape(40, 56))[0].astype(int) - expected).max() <= 8


@pytest.mark.parametrize("value", [np.float32(0.5), np.int32(70000), np.int32(-1)])
def test_numbers_that_are_no_gray(tmp_path, value):
    path = save(tmp_path / "a.tif", Image.fromarray(np.full((4, 5), value)))
    with pytest.raises(Undecodable, match="no gray of 8 or 16 bits"):
        decode(path, Shape(4, 5))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_exif_orientation(tmp_path, orientation, name):
    image = Image.fromarray(smooth(32, 48))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 98} if name == "a.jpg" else {}
    path = save(tmp_path / name, image, exif=exif, **options)
    with Image.open(path) as read:
        expected = np.array(ImageOps.exif_transpose(read))
    height, width = expected.shape[:2]
    np.testing.assert_array_equal(decode(path, Shape(height, width))[0], expected)
    np.testing.assert_array_equal(decode(path, Shape(height, width, fit="same"))[0], expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_ignored(tmp_path):
    pixels = smooth(16, 16)
    path = save(
        tmp_path / "a.jpg",
        Image.fromarray(pixels),
        exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff",
        quality=98,
        subsampling=0,
    )
    assert np.abs(decode(path, Shape(16, 16))[0].astype(int) - pixels).max() <= 8


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("size", [(64, 96), (65, 41), (150, 60)])
@pytest.mark.parametrize(
    "shape",
    [
        *(Shape(32, 32), Shape(24, 40), Shape(24, 40, 1), Shape(80, 80)),
        *(Shape(48, 32, resize=56), Shape(20, 30, fit="stretch")),
    ],
    ids=str,
)
def test_scaling(tmp_path, size, shape, suffix):
    """One filter over the crop is the same as scaling the whole image and cropping it afterwards."""
    image = Image.fromarray(smooth(*size))
    path = save(tmp_path / f"a.{suffix}", image, **({"quality": 98} if suffix == "jpg" else {}))
    height, width = size
    if shape.fit == "stretch":
        expected = image.resize((shape.width, shape.height), Image.Resampling.BILINEAR)
    else:
        scale = shape.resize / min(size) if shape.resize else max(shape.height / height, shape.width / width)
        whole = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
        left, top = (whole.width - shape.width) // 2, (whole.height - shape.height) // 2
        expected = whole.crop((left, top, left + shape.width, top + shape.height))
    expected = np.array(expected.convert("L" if shape.channels == 1 else "RGB")).reshape(decode(path, shape)[0].shape)
    error = np.abs(decode(path, shape)[0].astype(int) - expected)
    assert error.mean() < 2.5, error.mean()  # of half a pixel that an odd crop may be off
    assert error.max() <= 12, error.max()


def test_the_crop_is_the_center(tmp_path):
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 30:70] = 200
    path = save(tmp_path / "a.png", Image.fromarray(pixels))
    assert (decode(path, Shape(40, 40))[0] == 200).all()
    assert (decode(path, Shape(20, 20))[0][:, 1:-1] == 200).all()
    stretched = decode(path, Shape(40, 40, fit="stretch"))[0]
    assert (stretched[:, 14:26] == 200).all()
    assert (stretched[:, :10] == 0).all()


def test_padding_is_white(tmp_path):
    path = save(tmp_path / "a.png", Image.new("RGB", (100, 50), (10, 20, 30)))
    found = decode(path, Shape(40, 40, fit="pad"))[0]
    assert (found[10:30] == (10, 20, 30)).all()
    assert (found[:10] == 255).all()
    assert (found[30:] == 255).all()


def test_a_large_jpeg_is_decoded_smaller(tmp_path, monkeypatch):
    path = save(tmp_path / "a.jpg", Image.fromarray(smooth(640, 960)), quality=95)
    sizes = []
    resize = Image.Image.resize

    def spy(image, size, *rest, **options):
        sizes.append(image.size)
        return resize(image, size, *rest, **options)

    monkeypatch.setattr(Image.Image, "resize", spy)
    small = decode(path, Shape(32, 32))[0]
    assert sizes == [(120, 80)]  # an eighth: still more than twice as many pixels as wanted
    decode(path, Shape(200, 200))
    assert sizes[1] == (960, 640)
    whole = resize(Image.open(path), (48, 32), Image.Resampling.BILINEAR)
    assert np.abs(small.astype(int) - np.array(whole)[:, 8:40]).max() <= 6


def damaged(kind):
    data = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (60, 60, 3)).astype(np.uint8)).save(data, kind)
    whole = data.getvalue()
    yield whole[: len(whole) // 2]
    yield whole[:30]
    yield b""
    yield b"no image at all"
    yield bytes(1000)


@pytest.mark.parametrize("shape", [Shape(60, 60), Shape(20, 20), Shape(60, 60, fit="same")], ids=str)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_damaged_files(tmp_path, kind, shape):
    for number, data in enumerate(damaged(kind)):
        path = tmp_path / f"{number}.png"
        path.write_bytes(data)
        with pytest.raises(Undecodable) as error:
            decode(str(path), shape)
        assert "\n" not in str(error.value)
        assert str(error.value)


def test_files_of_other_sizes_and_missing_ones(tmp_path, color):
    with pytest.raises(UserError, match="has 30x44 pixels, and others 32x32"):
        decode(color[0], Shape(32, 32, fit="same"))
    with pytest.raises(UserError, match="cannot be read \\(No such file"):
        decode(str(tmp_path / "none.png"), Shape(4, 4))
