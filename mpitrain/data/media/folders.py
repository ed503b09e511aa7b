"""Files of one kind below a directory, and their classes: the names of the folders that they lie in.

DIR/CLASS/**/*.png                all files are of one split
DIR/train/CLASS, DIR/test/CLASS   with splits of their own; val or validation beside them or in place of test
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...errors import UserError
from .form import Medium

TRAIN = ("train", "training")
TEST = ("test", "testing")
VALIDATION = ("val", "valid", "validation")
SHOWN = 3  # names in a message


@dataclass(frozen=True)
class MediaFiles:
    """Files in the order of their names, and their classes.

    Attributes
    ----------
    root : str
        The directory.
    medium : Medium
    files : list of str
        Their paths: there may be millions, and a Path takes a multiple of a str.
    classes : list of str
        Of each file: the folder in ``root`` that it is in; empty for files without one.
    empty : list of str
        Folders in ``root`` without any.
    others : list of str
        Paths of files of other kinds.
    """

    root: str
    medium: Medium
    files: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.files)

    def notes(self) -> Iterator[str]:
        """Yield sentences about what is left out."""
        loose = self.classes.count("")
        if loose:
            yield f"{self.root}: {_count(loose, self.medium.noun)} in no folder of a class, and left out"
        if self.empty:
            some = ", ".join(map(repr, self.empty[:SHOWN])) + (", ..." if len(self.empty) > SHOWN else "")
            plural = len(self.empty) > 1
            verb = "hold" if plural else "holds"
            yield f"{self.root}: the folder{'s' * plural} {some} {verb} no {self.medium.nouns}: no class"
        if self.others:
            first = os.path.relpath(self.others[0], self.root)
            number = _count(len(self.others), "file")
            yield f"{self.root}: {number} no {self.medium.noun} by name, and left out (first {first})"


def find_files(root: str, medium: Medium) -> MediaFiles:
    """Return all files of a medium below a directory; names that begin with a dot are left out.

    Raises
    ------
    UserError
        If a directory cannot be read.
    """
    found = MediaFiles(root, medium)
    for entry in _entries(root):
        if not entry.is_dir():
            _add(found, entry, "")
            continue
        before, name = len(found), class_name(entry.name)
        for below in _below(entry.path, (_identity(root),)):
            _add(found, below, name)
        if len(found) == before:
            found.empty.append(name)
    return found


def class_name(folder: str) -> str:
    """Return the name of a folder as text; bytes that are not UTF-8 are written as ``\\\\xff``."""
    return os.fsencode(folder).decode("utf-8", "backslashreplace")


def find_splits(root: str, medium: Medium) -> tuple[dict[str, str], list[str]]:
    """Return the directories of the splits "train", "test" and "validation", and notes on those that are left out.

    Where there is no folder test, that of the validation is to test on. Without splits of its own, all of ``root`` is
    "train": also where a folder train lies among others, as the class of a vehicle.
    """
    folders = {entry.name.lower(): entry.path for entry in _entries(root) if entry.is_dir()}
    named = {
        part: next((folders[name] for name in names if name in folders), "")
        for part, names in (("train", TRAIN), ("test", TEST), ("validation", VALIDATION))
    }
    is_alone = folders.keys() <= {*TRAIN, *TEST, *VALIDATION}
    if not named["train"] or not _has_folders(named["train"]) or not (is_alone or named["test"] or named["validation"]):
        return {"train": root}, []
    splits = {part: path for part, path in named.items() if path and _has_folders(path)}
    notes = [
        f"{path} holds no folders of classes, and is left out: {medium.source}:{path} is for predictions"
        for part, path in named.items()
        if path and part not in splits
    ]
    if "test" not in splits and "validation" in splits:
        splits["test"] = splits.pop("validation")
    return splits, notes


def _has_folders(path: str) -> bool:
    return any(entry.is_dir() for entry in _entries(path))


def _add(found: MediaFiles, entry: os.DirEntry[str], name: str) -> None:
    if not entry.is_file() and not entry.is_symlink():  # a pipe would be waited for
        return
    if os.path.splitext(entry.name)[1].lower() in found.medium.suffixes:
        found.files.append(entry.path)
        found.classes.append(name)
    else:
        found.others.append(entry.path)


def _below(directory: str, above: tuple[tuple[int, int], ...]) -> Iterator[os.DirEntry[str]]:
    """Yield all files below a directory, unless it is one of those ``above`` it again, by a link."""
    own = _identity(directory)
    if own in above:
        return
    for entry in _entries(directory):
        if entry.is_dir():
            yield from _below(entry.path, (*above, own))
        else:
            yield entry


def _identity(directory: str) -> tuple[int, int]:
    found = os.stat(directory)
    return found.st_dev, found.st_ino


def _entries(directory: str) -> list[os.DirEntry[str]]:
    """Return what is in a directory, in the order of the names, without what is hidden."""
    try:
        with os.scandir(directory) as found:
            return sorted((e for e in found if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"the directory {directory} cannot be read ({error.strerror})") from None


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s are' if number > 1 else ' is'}"
