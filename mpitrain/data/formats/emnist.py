"""EMNIST: handwritten letters and digits in IDX files like MNIST's, but with rows and columns exchanged.

Source: G. Cohen, S. Afshar, J. Tapson and A. van Schaik, EMNIST: an extension of MNIST to handwritten letters, 2017,
arXiv:1702.05373.
"""

import string
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..build import Arrays, image_dataset
from ..cache import facts_of
from ..dataset import Dataset
from ..files import folder
from ..large_arrays import LARGE, stored_copy
from ..source_options import SET_KEYS, check_place, given_once, one_of, split_options
from .idx import find_idx, read_pair

BY_CLASS = tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase)
MERGED = tuple(string.digits + string.ascii_uppercase + "abdefghnqrt")
"""Classes of ``balanced`` and ``bymerge``: small letters that look like capital ones are among these."""

CLASSES = {
    "balanced": MERGED,
    "byclass": BY_CLASS,
    "bymerge": MERGED,
    "letters": tuple(string.ascii_uppercase),
    "digits": tuple(string.digits),
    "mnist": tuple(string.digits),
}
_FOLDERS = ("", "gzip", "EMNIST/raw")


def emnist_dataset(place: str, task: str | None) -> Dataset:
    """Open ``emnist:place`` as a dataset; see ``data.open_dataset``."""
    path, given = split_options(place, SET_KEYS["emnist"])
    check_place("emnist", path, SET_KEYS["emnist"])
    split = one_of("emnist", given_once("emnist", place, given), "split", tuple(CLASSES))
    return image_dataset(f"emnist-{split}", *read_emnist(folder(path, "emnist"), split), CLASSES[split], task)


def read_emnist(directory: Path, split: str) -> tuple[Arrays, Arrays]:
    """Return the training and the test images, upright, and labels of one of the six sets.

    Parameters
    ----------
    directory : Path
        The folder of the files ``emnist-SPLIT-train-images-idx3-ubyte``, gzipped or not, and so on, or the one in
        which the archive was unpacked.
    split : str
        A key of ``CLASSES``.

    Returns
    -------
    (x, labels), (x_test, labels_test)
        (N, 28, 28, 1) and (N,) arrays of uint8.

    Raises
    ------
    UserError
        If a file is missing, cut off or of another kind.
    """
    paths = {}
    for part in ("train", "test"):
        for kind in ("images-idx3", "labels-idx1"):
            name = f"emnist-{split}-{part}-{kind}-ubyte"
            found = next((path for sub in _FOLDERS if (path := find_idx(directory / sub, name))), None)
            if found is None:
                raise UserError(f"{directory} lacks {name} (with or without .gz, also in {' and '.join(_FOLDERS[1:])})")
            paths[part, kind] = found
    train, test = ((paths[part, "images-idx3"], paths[part, "labels-idx1"]) for part in ("train", "test"))
    return _read_upright(*train, split), _read_upright(*test, split)


def _read_upright(images: Path, labels: Path, split: str) -> Arrays:
    """Return images with rows and columns exchanged, large ones mapped from the cache, and labels that count from 0."""
    x, y = read_pair(images, labels)
    turned = x.swapaxes(1, 2)
    if x.nbytes > LARGE:
        facts = ["emnist", *facts_of(images)]
        upright = stored_copy(facts, turned.shape, np.uint8, lambda start, stop: turned[start:stop])
    else:
        upright = np.ascontiguousarray(turned)
    return upright, y - 1 if split == "letters" else y
