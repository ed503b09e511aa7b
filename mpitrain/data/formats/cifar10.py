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
    read = _read_binary if suffix else _read_python
    train = [read(home / (name + suffix)) for name in _TRAIN]
    x, y = read(home / (_TEST + suffix))
    x_train = _join([images for images, _ in train])
    return (x_train, np.concatenate([labels for _, labels in train])), (_join([x]), y)


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


def _read_binary(path: Path) -> Arrays:
    """Read records of 1 byte of label and 3,072 of pixels."""
    with reading(path, "a CIFAR-10 batch"):
        records = np.fromfile(path, np.uint8)
    if records.size == 0 or records.size % (1 + _PIXELS):
        raise UserError(
            f"{path} is cut off: it has {records.size} bytes, expected a multiple of {1 + _PIXELS} (label and pixels)"
        )
    records = records.reshape(-1, 1 + _PIXELS)
    return records[:, 1:], records[:, 0].astype(np.int64)


def _read_python(path: Path) -> Arrays:
    batch = unpickle(path)
    held, labels = (batch.get(b"data"), batch.get(b"labels")) if isinstance(batch, dict) else (None, None)
    pixels = held.values if isinstance(held, PickledArray) else np.empty(0)
    if pixels.shape != (len(pixels), _PIXELS):
        raise UserError(f"{path} is no CIFAR-10 batch: expected an array 'data' of shape (N, {_PIXELS})")
    if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
        raise UserError(f"{path} is no CIFAR-10 batch: expected 'labels', a list of integers")
    if len(labels) != len(pixels):
        raise UserError(f"{path} holds {len(pixels)} images, but {len(labels)} labels")
    wrong = [label for label in labels if not 0 <= label < len(CIFAR10_CLASSES)]
    if wrong:
        raise UserError(f"{path}: expected labels from 0 to {len(CIFAR10_CLASSES) - 1} and found {wrong[0]}")
    return pixels, np.array(labels, np.int64)


def _join(batches: list[np.ndarray]) -> np.ndarray:
    """Put batches of rows of channels, (n, 3072), into one array of pixels, (N, 32, 32, 3)."""
    out = np.empty((sum(map(len, batches)), _SIDE, _SIDE, _CHANNELS), np.uint8)
    start = 0
    for batch in batches:
        out[start : start + len(batch)] = batch.reshape(-1, _CHANNELS, _SIDE, _SIDE).transpose(0, 2, 3, 1)
        start += len(batch)
    return out
