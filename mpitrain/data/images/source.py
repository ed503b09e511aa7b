"""Datasets of image files: ``images:DIR``."""

from ..dataset import Dataset
from ..draw import Draw
from ..media.samples import MediaSamples, media_dataset, media_samples, whole_media
from .parts import image_parts


def images_dataset(place: str, task: str | None, test_fraction: float, seed: int, draw: Draw) -> Dataset:
    """Open ``images:place`` as a dataset; see ``data.open_dataset``."""
    return media_dataset(image_parts(place), task, test_fraction, seed, draw)


def whole_images(place: str, task: str | None) -> Dataset:
    """Return a dataset of which nothing is held out: without test images of its own, its test split is empty."""
    return whole_media(image_parts(place), task)


def image_samples(place: str) -> MediaSamples:
    """Return images without their classes, which need not be known: the test split of a source that has one, or all."""
    return media_samples(image_parts(place))
