"""Files of a source of images, and the shape that they get."""

from functools import partial

from ..media.parts import MediaParts, find_parts
from .decode import IMAGES, Shape, size_of_first
from .options import ImageOptions, parse_image_source


def image_parts(place: str) -> MediaParts:
    """Return the files of ``images:place``; raises UserError as ``media.parts.find_parts``."""
    name, options = parse_image_source(place)
    return find_parts(IMAGES, name, options, partial(_shape, options))


def _shape(options: ImageOptions, first: str) -> Shape:
    if options.size is not None:
        return Shape(*options.size, options.channels, options.fit, options.resize)
    return Shape(*size_of_first(first), options.channels, "same")
