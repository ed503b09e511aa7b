"""The generated set ``shapes``: circles and rectangles on a noisy ground, with the class of each pixel.

    shapes:samples=1000,size=64,channels=1,objects=4,noise=0.1,seed=0

Shapes: N samples; H, W, C height, width and channels of an image.
"""

from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..suggest import did_you_mean
from .dataset import SEGMENTATION, Dataset, Split
from .rng import SHAPES, random_bits
from .source_options import split_options

CLASSES = ("background", "circle", "rectangle")

KEYS = {
    "samples": "images, the last fifth of which are to test on (default 1000)",
    "size": "height and width, as in 64 or 48x96 (default 64)",
    "channels": "1 or 3 (default 1)",
    "objects": "the most circles and rectangles in an image (default 4)",
    "noise": "standard deviation of the noise, of 1 between black and white (default 0.1)",
    "seed": "another number gives other images (default 0)",
}
"""The options and their meaning."""

_WORDS = 8  # random numbers for an object


@dataclass(frozen=True)
class ShapesOptions:
    """Options of the set; see ``KEYS``."""

    samples: int = 1000
    size: tuple[int, int] = (64, 64)
    channels: int = 1
    objects: int = 4
    noise: float = 0.1
    seed: int = 0


def shapes_dataset(place: str, task: str | None) -> Dataset:
    """Return the set, the same on any machine.

    Parameters
    ----------
    place : str
        What follows ``shapes:``.
    task : str or None

    Raises
    ------
    UserError
        For an unknown or impossible option, or another task than segmentation.

    >>> made = shapes_dataset("samples=10,size=24x32", None)
    >>> made.train.x.shape, made.test.y.shape, made.class_names
    ((8, 24, 32, 1), (2, 24, 32), ('background', 'circle', 'rectangle'))
    """
    if task not in (None, SEGMENTATION):
        raise UserError(f"shapes has classes of pixels as targets: its task is {SEGMENTATION}, not {task}")
    options = parse_shapes(place)
    x, y = draw_shapes(options)
    count = options.samples - max(1, options.samples // 5)
    train, test = Split(x[:count], y[:count]), Split(x[count:], y[count:])
    return Dataset("shapes", SEGMENTATION, train, test, len(CLASSES), CLASSES)


def parse_shapes(place: str) -> ShapesOptions:
    """Return the options in what follows ``shapes:``."""
    rest, given = split_options(f",{place}", KEYS)
    if rest.strip(","):
        name = rest.strip(",").partition("=")[0]
        raise UserError(f"shapes has no option {name!r}{did_you_mean(name, KEYS)}, only {', '.join(KEYS)}")
    values = {key: texts[-1] for key, texts in given.items()}
    sides = values.pop("size", "64").split("x")
    numbers = {key: _number(key, text) for key, text in values.items()}
    height, width = (_number("size", text) for text in (sides * 2 if len(sides) == 1 else sides)[:2])
    whole = {key: int(value) for key, value in numbers.items() if key != "noise"}
    options = ShapesOptions(size=(int(height), int(width)), noise=numbers.get("noise", 0.1), **whole)
    _check(options, len(sides))
    return options


def _number(key: str, text: str) -> float:
    try:
        return float(text) if key == "noise" else int(text)
    except ValueError:
        kind = "a number" if key == "noise" else "a whole number"
        raise UserError(f"shapes: {key} is {text!r}, but must be {kind}") from None


def _check(options: ShapesOptions, num_sides: int) -> None:
    bounds = (
        ("samples", options.samples >= 2, "at least 2"),
        ("size", num_sides <= 2 and min(options.size) >= 8, "at least 8, or HEIGHTxWIDTH"),
        ("channels", options.channels in (1, 3), "1 or 3"),
        ("objects", options.objects >= 1, "at least 1"),
        ("noise", 0 <= options.noise <= 1, "from 0 to 1"),
    )
    for key, fits, wanted in bounds:
        if not fits:
            raise UserError(f"shapes: {key} must be {wanted}")


def draw_shapes(options: ShapesOptions) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, H, W, C) uint8 and classes (N, H, W) int8.

    An image has one to ``objects`` objects, later ones over earlier ones. Circles and rectangles are as bright and as
    large on average, so that only their outlines tell them apart.
    """
    (height, width), channels = options.size, options.channels
    x = np.empty((options.samples, height, width, channels), np.uint8)
    y = np.zeros((options.samples, height, width), np.int8)
    words = random_bits(np.arange(options.samples * (options.objects + 1) * _WORDS), options.seed, SHAPES)
    uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    draws = uniform.reshape(options.samples, options.objects + 1, _WORDS)
    for number, (first, *objects) in enumerate(draws):
        image = np.empty((height, width, channels))
        ground = 0.3 + 0.4 * first[1 : 1 + channels]
        image[...] = ground
        for one in objects[: 1 + int(first[0] * options.objects)]:
            inside = _inside(one, height, width)
            image[inside] = (ground + 0.25 + 0.5 * one[5 : 5 + channels]) % 1  # unlike the ground
            y[number][inside] = 1 if one[0] < 0.5 else 2
        image += options.noise * _noise(number, image.size, options.seed).reshape(image.shape)
        np.copyto(x[number], np.clip(np.rint(255 * image), 0, 255), casting="unsafe")
    return x, y


def _inside(draw: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return which pixels (H, W) an object covers."""
    side = min(height, width)
    radius = side * (0.1 + 0.15 * draw[1])
    down = np.arange(height)[:, None] - draw[2] * (height - 1)
    right = np.arange(width) - draw[3] * (width - 1)
    if draw[0] < 0.5:
        circle: np.ndarray = down**2 + right**2 <= radius**2
        return circle
    half = radius * np.pi**0.5 / 2  # the area of the rectangle is that of the circle
    stretch = 1.3 + draw[4] % 0.5
    if draw[4] < 0.5:  # lying, not standing
        stretch = 1 / stretch
    rectangle: np.ndarray = (np.abs(down) <= half * stretch) & (np.abs(right) <= half / stretch)
    return rectangle


def _noise(number: int, count: int, seed: int) -> np.ndarray:
    """Return (count,) draws of mean 0 and deviation 1: sums of four uniform ones, nearly normal."""
    bits = random_bits(np.arange(count), seed, SHAPES, 1 + number)
    total = np.zeros(count)
    for part in range(4):
        total += ((bits >> np.uint64(16 * part)) & np.uint64(0xFFFF)).astype(np.float64)
    noise: np.ndarray = (total / 65535 - 2) * 3.0**0.5  # four of variance 1 / 12
    return noise
