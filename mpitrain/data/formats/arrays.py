"""Named arrays in files: npz archives, directories of npy files, and HDF5 files, with samples and targets by name.

Shapes: N samples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...plain_text import visible
from ..build import Arrays
from ..files import file, folder
from ..source_options import ARRAY_KEYS, check_place, given_once, split_options
from .npz import npz_names, read_member
from .npz_names import choose_arrays, choose_samples


@dataclass(frozen=True)
class ArrayFile:
    """Arrays by name.

    Attributes
    ----------
    path : Path
    names : set of str
    read : callable(name) -> array
    chosen : dict of str to str
        The names that the user gave of x, y, x_test and y_test.
    """

    path: Path
    names: set[str]
    read: Callable[[str], np.ndarray]
    chosen: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the file without its suffix, or of the directory."""
        return self.path.name if self.path.is_dir() else self.path.stem

    def splits(self) -> tuple[Arrays, Arrays | None, tuple[str, ...]]:
        """Return the training arrays, the test arrays (None if a test split is to be drawn), and notes.

        Raises
        ------
        UserError
            If there are no samples with targets, or one is damaged.
        """
        if self.chosen:
            self._check_chosen()
            train, test = (tuple(self.chosen.get(f"{one}{end}", "") for one in "xy") for end in ("", "_test"))
            notes: tuple[str, ...] = ()
        else:
            train, found, notes = choose_arrays(self.names, self.path)
            test = found or ("", "")
        return (
            (self.read(train[0]), self.read(train[1])),
            (self.read(test[0]), self.read(test[1])) if test[0] else None,
            notes,
        )

    def samples(self) -> np.ndarray:
        """Return the samples to predict on: x, or those of the test or validation split; raises UserError if none."""
        return self.read(self.chosen.get("x") or choose_samples(self.names, self.path))

    def _check_chosen(self) -> None:
        for key in ("x", "y"):
            if key not in self.chosen:
                other = self.chosen.get("y" if key == "x" else "x", "")
                raise UserError(
                    f"{self.path}: {key}= is missing: say which dataset holds the "
                    f"{'samples' if key == 'x' else 'targets'}" + f" beside {other!r}" * bool(other)
                )
        if ("x_test" in self.chosen) != ("y_test" in self.chosen):
            raise UserError(f"{self.path}: x_test= and y_test= go together")


def open_arrays(kind: str, place: str) -> ArrayFile:
    """Open what follows ``npz:``, ``npy:`` or ``hdf5:``.

    Raises
    ------
    UserError
        If it is not there or damaged, or an option is unknown.
    """
    if kind == "npz":
        path = file(place, kind)
        return ArrayFile(path, npz_names(path), partial(read_member, path))
    if kind == "npy":
        from .npy import npy_names, read_npy

        path = folder(place, kind)
        return ArrayFile(path, npy_names(path), lambda name: read_npy(path / f"{name}.npy"))
    from .hdf5 import hdf5_names, read_hdf5

    known = ARRAY_KEYS[kind]
    name, given = split_options(place, known)
    check_place(kind, name, known)
    path = file(name, kind)
    chosen = {key: value for key, value in given_once(kind, visible(place), given).items() if value}
    return ArrayFile(path, hdf5_names(path), partial(read_hdf5, path), chosen)
