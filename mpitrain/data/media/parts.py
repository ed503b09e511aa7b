"""Splits of a source of files: their files, and the form that all get."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import UserError
from ..files import folder
from .folders import MediaFiles, find_files, find_splits
from .form import Form, MediaOptions, Medium
from .labels import LabelTable, read_label_table
from .store import MediaStore

Part = MediaFiles | LabelTable


@dataclass(frozen=True)
class MediaParts:
    """The files of a source.

    Attributes
    ----------
    where : str
        The source, for messages.
    root : str
        The directory.
    name : str
    medium : Medium
    options : MediaOptions
    splits : dict of str to Part
        "train", and "test" and "validation" if there are any.
    notes : list of str
    make_form : callable(str) -> Form
        Returns the form of all files, given the first one.
    """

    where: str
    root: str
    name: str
    medium: Medium
    options: MediaOptions
    splits: dict[str, Part]
    notes: list[str]
    make_form: Callable[[str], Form]

    def form(self) -> Form:
        """Return the form that all files get; raises UserError where it depends on the first, which is damaged."""
        return self.make_form(self.splits["train"].files[0])

    def stores(self) -> dict[str, MediaStore]:
        """Return the decoded files of each split, which may have to be decoded yet."""
        form = self.form()
        return {part: MediaStore(found.files, form) for part, found in self.splits.items()}


def find_parts(medium: Medium, name: str, options: MediaOptions, make_form: Callable[[str], Form]) -> MediaParts:
    """Return the files of a source in the directory ``name``.

    Raises
    ------
    UserError
        If there is no such directory, or a split holds no files of the medium.
    """
    path = folder(name, medium.source)
    root, notes = str(path), list[str]()
    splits: dict[str, Part]
    if options.labels:
        splits = {"train": read_label_table(options.labels, root, options.target)}
        if options.test:
            splits["test"] = read_label_table(options.test, root, options.target)
    else:
        roots, notes = find_splits(root, medium)
        if options.test:
            roots["test"] = str(folder(options.test, medium.source))
        splits = {part: find_files(where, medium) for part, where in roots.items()}
    for found in splits.values():
        if isinstance(found, MediaFiles):
            if not found.files:
                others = f" ({len(found.others):,} files of other kinds)" if found.others else ""
                raise UserError(f"{medium.source}: the directory {found.root} holds no {medium.nouns}{others}")
            notes += found.notes()
    base = os.path.basename(os.path.abspath(path)) or medium.source
    return MediaParts(f"{medium.source}:{name}", root, base, medium, options, splits, notes, make_form)
