"""Image files: folders of classes or tables of labels, decoded once into a file that all processes map."""

from typing import TYPE_CHECKING

from ...later import import_later
from .options import KEYS, ImageOptions, parse_image_source

if TYPE_CHECKING:
    from .parts import units_of_images
    from .report import describe_images
    from .source import image_samples, images_dataset, whole_images

__all__ = [
    "KEYS",
    "ImageOptions",
    "describe_images",
    "image_samples",
    "images_dataset",
    "parse_image_source",
    "units_of_images",
    "whole_images",
]

__getattr__ = import_later(
    __name__,
    {
        "parts": "units_of_images",
        "report": "describe_images",
        "source": "image_samples images_dataset whole_images",
    },
)
