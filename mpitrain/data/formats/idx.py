"""MNIST's file format, IDX: a big-endian header (magic, then one 32-bit size per dim) and bytes.

Source: Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits, 1998; Fashion-MNIST: H. Xiao,
K. Rasul and R. Vollgraf, 2017, arXiv:1708.07747.
"""

import gzip
import math
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..build import Arrays
from ..files import reading

DIGIT_CLASSES = tuple("0123456789")
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_NUM_DIMS = {"images": 3, "labels": 1}


def read_idx_folder(directory: Path) -> tuple[Arrays, Arrays]:
    """Return the training and the test images and labels of a set in MNIST's four files, gzipped or not.

    Returns
    -------
    (x, labels), (x_test, labels_test)
        (N, H, W, 1) and (N,) arrays of uint8, read-only; memory maps where the files are not gzipped.

    Raises
    ------
    UserError
        If a file is missing, cut off or of another kind, or images and labels differ in number.
    """
    names = [f"{part}-{kind}-idx{_NUM_DIMS[kind]}-ubyte" for part in ("train", "t10k") for kind in _NUM_DIMS]
    found = {name: path for name in names if (path := find_idx(directory, name))}
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(f"{directory} lacks {', '.join(missing)} (looked for each with and without .gz)")
    images, labels, images_test, labels_test = (found[name] for name in names)
    return read_pair(images, labels), read_pair(images_test, labels_test)


def read_idx(path: Path, num_dims: int) -> np.ndarray:
    """Return the bytes of an IDX file, gzipped if its name ends so, as an array of ``num_dims`` dims.

    Raises
    ------
    UserError
        If the header is not that of bytes in ``num_dims`` dims, or the sizes in it do not fit the file's length.
    """
    what = f"an IDX file of bytes in {num_dims} dim{'s' * (num_dims > 1)}"
    start = 4 * (1 + num_dims)
    with reading(path, what):
        if path.suffix == ".gz":
            with gzip.open(path) as stream:
                content = np.frombuffer(stream.read(), np.uint8)
        elif path.stat().st_size:
            content = np.memmap(path, np.uint8, "r")
        else:
            content = np.empty(0, np.uint8)
    if content.size < start:
        raise UserError(f"{path} is cut off: {content.size} bytes, expected the {start} of a header at least")
    magic, *shape = np.frombuffer(content[:start].tobytes(), ">u4").tolist()
    if magic != 0x0800 + num_dims:
        raise UserError(f"{path} is not {what}: expected the magic number {0x0800 + num_dims} and found {magic}")
    expected = start + math.prod(shape)
    if content.size != expected:
        fault = "is cut off" if content.size < expected else "is too long"
        raise UserError(
            f"{path} {fault}: its header says {' x '.join(map(str, shape))}, which takes {expected} bytes, "
            f"and it has {content.size}"
        )
    return content[start:].reshape(shape)


def find_idx(directory: Path, name: str) -> Path | None:
    """Return the raw file, which can be mapped, before the gzipped one; some archives write a dot before idx."""
    for suffix in ("", ".gz"):
        for spelling in (name, name.replace("-idx", ".idx")):
            path = directory / (spelling + suffix)
            if path.is_file():
                return path
    return None


def read_pair(images: Path, labels: Path) -> Arrays:
    """Return the images (N, H, W, 1) and labels (N,) of two files; raises UserError if they differ in number."""
    x, y = read_idx(images, _NUM_DIMS["images"]), read_idx(labels, _NUM_DIMS["labels"])
    if len(x) != len(y):
        raise UserError(f"{images} holds {len(x)} images, but {labels} holds {len(y)} labels")
    return x[..., None], y
