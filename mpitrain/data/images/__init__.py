"""Image files: folders of classes or tables of labels, decoded once into a file that all processes map."""

from typing import TYPE_CHECKING

from ...later import import_later
from .options import KEYS, ImageOptions, parse_image_source

if TYPE_CHECKING:
    from .parts import image_parts
    from .report import describe_images

__all__ = ["KEYS", "ImageOptions", "describe_images", "image_parts", "parse_image_source"]

__getattr__ = import_later(__name__, {"parts": "image_parts", "report": "describe_images"})
