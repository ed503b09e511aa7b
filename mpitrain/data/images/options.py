"""The options of ``images:DIR,size=224,...``; more in ``KEYS``."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import UserError
from ..media.form import MediaOptions
from ..source_options import check_place, given_once, one_of, split_options, whole_number

LARGEST = 1 << 14  # pixels of a side

KEYS = {
    "size": "height and width of all images, as in 224 or 240x320 (by default that of the first, if all have it)",
    "fit": "crop the center of the scaled image (the default), stretch it, or pad it with white",
    "resize": "length of the shorter side before the center is cropped (by default the least that covers size=)",
    "channels": "3 for color (the default), 1 for gray",
    "bad": "stop at files that cannot be decoded (the default), or skip them",
    "labels": "csv file that names the files and their classes or values, in place of folders of classes",
    "target": "its column to predict, or several (by default the only one beside that of the files)",
    "test": "folder, or csv file where labels= is given, of the test images",
}
"""The options and their meaning."""

FITS = ("crop", "stretch", "pad")


@dataclass(frozen=True)
class ImageOptions(MediaOptions):
    """Options of a source of images; see ``KEYS``.

    Attributes
    ----------
    size : (int, int) or None
        Height and width; None for those of the first image.
    fit : str
    resize : int
        0 for the least length that covers ``size``.
    channels : int
    """

    size: tuple[int, int] | None = None
    fit: str = "crop"
    resize: int = 0
    channels: int = 3


def parse_image_source(text: str) -> tuple[str, ImageOptions]:
    """Split what follows ``images:`` into the path and the options.

    Raises
    ------
    UserError
        If an option is unknown, given twice, or has a value that it cannot have.

    >>> parse_image_source("photos,size=48x64,channels=1")[1].size
    (48, 64)
    """
    place, given = split_options(text, KEYS)
    if not place:
        raise UserError("images: say which directory, as in images:DIR")
    check_place("images", place, KEYS)
    one = given_once("images", text, given)
    options = ImageOptions(
        size=_size(one),
        fit=one_of("images", one, "fit", FITS),
        resize=whole_number("images", one, "resize", 0, 1, LARGEST),
        channels=int(one_of("images", one, "channels", ("3", "1"))),
        skips_bad=one_of("images", one, "bad", ("stop", "skip")) == "skip",
        **{key: one.get(key, "") for key in ("labels", "target", "test")},
    )
    if options.resize and (options.fit != "crop" or options.size is None):
        raise UserError(
            "images: resize= is the shorter side before a crop: it needs size=, and no other fit= than crop"
        )
    if options.size and 0 < options.resize < max(options.size):
        raise UserError(f"images: resize={options.resize} is smaller than size=, so that a crop would not be filled")
    if options.target and not options.labels:
        raise UserError("images: target= is a column of the csv file labels=, which is not given")
    return place, options


def _size(given: Mapping[str, str]) -> tuple[int, int] | None:
    text = given.get("size")
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and 1 <= int(side) <= LARGEST for side in sides):
        raise UserError(f"images: size={text} must be the side in pixels, or HEIGHTxWIDTH, up to {LARGEST:,}")
    return int(sides[0]), int(sides[-1])
