"""Splits of a source of images: their files, and the shape that all images get."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import UserError
from ..files import folder
from .decode import Shape, size_of_first
from .folders import ImageFiles, find_images, find_splits
from .labels import LabelTable, read_label_table
from .options import ImageOptions, parse_image_source
from .store import DecodingUnit, ImageStore

Part = ImageFiles | LabelTable


@dataclass(frozen=True)
class ImageParts:
    """The files of a source.

    Attributes
    ----------
    where : str
        The source, for messages.
    root : str
        The directory.
    name : str
    options : ImageOptions
    splits : dict of str to Part
        "train", and "test" and "validation" if there are any.
    notes : list of str
    """

    where: str
    root: str
    name: str
    options: ImageOptions
    splits: dict[str, Part]
    notes: list[str]

    def shape(self) -> Shape:
        """Return the shape that all images get; raises UserError where it is that of the first, which is no image."""
        options = self.options
        if options.size is not None:
            return Shape(*options.size, options.channels, options.fit, options.resize)
        return Shape(*size_of_first(self.splits["train"].files[0]), options.channels, "same")

    def stores(self) -> dict[str, ImageStore]:
        """Return the decoded images of each split, which may have to be decoded yet."""
        shape = self.shape()
        return {part: ImageStore(found.files, shape) for part, found in self.splits.items()}


def find_parts(place: str) -> ImageParts:
    """Return the files of ``images:place``.

    Raises
    ------
    UserError
        If there is no such directory, or a split holds no images.
    """
    name, options = parse_image_source(place)
    path = folder(name, "images")
    root, notes = str(path), list[str]()
    splits: dict[str, Part]
    if options.labels:
        splits = {"train": read_label_table(options.labels, root, options.target)}
        if options.test:
            splits["test"] = read_label_table(options.test, root, options.target)
    else:
        roots, notes = find_splits(root)
        if options.test:
            roots["test"] = str(folder(options.test, "images"))
        splits = {part: find_images(where) for part, where in roots.items()}
    for found in splits.values():
        if isinstance(found, ImageFiles):
            if not found.files:
                others = f" ({len(found.others):,} files of other kinds)" if found.others else ""
                raise UserError(f"images: the directory {found.root} holds no images{others}")
            notes += found.notes()
    return ImageParts(
        f"images:{name}", root, os.path.basename(os.path.abspath(path)) or "images", options, splits, notes
    )


def units_of_images(place: str) -> Sequence[DecodingUnit]:
    """Return the work to do before ``images:place`` is opened, which ranks may share."""
    return [unit for store in find_parts(place).stores().values() for unit in store.units()]
