"""CIFAR-10, binary and Python versions: images are (3, 32, 32) in the files and are returned as (32, 32, 3).

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from pathlib import Path

import numpy as np

from ...errors import UserError
from ..build import Arrays
from ..files import reading
from .unpickle import PickledArray, unpickle

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_TRAIN = [f"data_batch_{number}" for number in range(1, 6)]
_TEST = "test_batch"
_CHANNELS, _SIDE = 3, 32
_PIXELS = _CHANNELS * _SIDE * _SIDE
_FOLDERS = ("", "cifar-10-batches-bin", "cifar-10-batches-py")


def read_cifar10(directory: Path) -> tuple[Arrays, Arrays]:
    """Return the training and the test images and labels.

    Parameters
    ----------
    directory : Path
        The folder of the batches, or the one in which the archive was unpacked.

    Returns
    -------
    (x, labels), (x_test, labels_test)
        (N, 32, 32, 3) uint8 and (N,) int64.

    Raises
    ------
    UserError
        If a batch is missing, cut off or holds something else.
    """
    home, suffix = _find(directory)
    missing = [name + suffix for name in (*_TRAIN, _TEST) if not (home / (name + suffix)).is_file()]
    if missing:
        raise UserError(f"{home} lacks {', '.join(missing)} of the CIFAR-10 batches")
    read = read_binary if suffix else read_python
    train = [read(home / (name + suffix)) for name in _TRAIN]
    x, y = read(home / (_TEST + suffix))
    x_train = join_images([images for images, _ in train])
    return (x_train, np.concatenate([labels for _, labels in train])), (join_images([x]), y)


def _find(directory: Path) -> tuple[Path, str]:
    """Return the folder that holds a first batch, and the suffix of the batches' names."""
    for name in _FOLDERS:
        for suffix in (".bin", ""):
            if (directory / name / (_TRAIN[0] + suffix)).is_file():
                return directory / name, suffix
    raise UserError(
        f"{directory} holds no CIFAR-10: looked for {_TRAIN[0]}.bin and {_TRAIN[0]} in it and in its folders "
        f"{' and '.join(_FOLDERS[1:])}"
    )


def read_binary(path: Path, num_labels: int = 1, which: int = 0, name: str = "CIFAR-10") -> Arrays:
    """Return (N, 3072) pixels and labels (N,) of records of ``num_labels`` bytes, one of them the label, and pixels."""
    with reading(path, f"a {name} batch"):
        records = np.fromfile(path, np.uint8)
    length = num_labels + _PIXELS
    if records.size == 0 or records.size % length:
        kinds = "label and pixels" if num_labels == 1 else "labels and pixels"
        raise UserError(f"{path} is cut off: it has {records.size} bytes, expected a multiple of {length} ({kinds})")
    records = records.reshape(-1, length)
    return records[:, num_labels:], records[:, which].astype(np.int64)


def read_python(path: Path, key: str = "labels", num_classes: int = 10, name: str = "CIFAR-10") -> Arrays:
    """Return (N, 3072) pixels and labels (N,) of a pickled dict of ``data`` and ``key``."""
    batch = unpickle(path)
    held, labels = (batch.get(b"data"), batch.get(key.encode())) if isinstance(batch, dict) else (None, None)
    pixels = held.values if isinstance(held, PickledArray) else np.empty(0)
    if pixels.shape != (len(pixels), _PIXELS):
        raise UserError(f"{path} is no {name} batch: expected an array 'data' of shape (N, {_PIXELS})")
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise UserError(f"{path} is no {name} batch: expected {key!r}, a list of integers")
    if len(labels) != len(pixels):
        raise UserError(f"{path} holds {len(pixels)} images, but {len(labels)} labels")
    wrong = [label for label in labels if not 0 <= label < num_classes]
    if wrong:
        raise UserError(f"{path}: expected labels from 0 to {num_classes - 1} and found {wrong[0]}")
    return pixels, np.array(labels, np.int64)


def join_images(batches: list[np.ndarray]) -> np.ndarray:
    """Put batches of rows of channels, (n, 3072), into one array of pixels, (N, 32, 32, 3)."""
    out = np.empty((sum(map(len, batches)), _SIDE, _SIDE, _CHANNELS), np.uint8)
    start = 0
    for batch in batches:
        out[start : start + len(batch)] = batch.reshape(-1, _CHANNELS, _SIDE, _SIDE).transpose(0, 2, 3, 1)
        start += len(batch)
    return out
