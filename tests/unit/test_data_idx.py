import gzip
import struct

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.errors import UserError

RNG = np.random.default_rng(1)
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(array):
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def arrays():
    images, labels = RNG.integers(0, 256, (30, 5, 4), dtype=np.uint8), RNG.integers(0, 10, 30, dtype=np.uint8)
    return dict(zip(NAMES, (images[:20], labels[:20], images[20:], labels[20:])))


def write(folder, arrays, suffix=""):
    for name, array in arrays.items():
        content = idx(array)
        (folder / (name + suffix)).write_bytes(gzip.compress(content) if suffix == ".gz" else content)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kind", ["mnist", "fashion-mnist"])
def test_reads(tmp_path, arrays, suffix, kind):
    write(tmp_path, arrays, suffix)
    data = open_dataset(f"{kind}:{tmp_path}")
    assert (data.name, data.task, data.num_outputs, data.input_shape) == (kind, "classification", 10, (5, 4, 1))
    assert data.class_names[9] == {"mnist": "9", "fashion-mnist": "Ankle boot"}[kind]
    for split, images, labels in ((data.train, *NAMES[:2]), (data.test, *NAMES[2:])):
        np.testing.assert_array_equal(split.x[..., 0], arrays[images])
        np.testing.assert_array_equal(split.y, arrays[labels])
        assert (split.x.dtype, split.y.dtype) == (np.uint8, np.int64)


def is_mapped(array):
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


def test_raw_files_are_mapped(tmp_path, arrays):
    write(tmp_path, arrays)
    assert is_mapped(open_dataset(f"mnist:{tmp_path}").train.x)


def test_a_dot_before_idx(tmp_path, arrays):
    write(tmp_path, {name.replace("-idx", ".idx"): array for name, array in arrays.items()})
    assert len(open_dataset(f"mnist:{tmp_path}").train) == 20


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            NAMES[0],
            lambda content: content[:-1],
            r"images-idx3-ubyte\S* is cut off: .* 20 x 5 x 4, .* 416 bytes, .* 415",
        ),
        (NAMES[0], lambda content: content + b"x", "is too long"),
        (NAMES[0], lambda content: content[:7], "is cut off: 7 bytes"),
        (NAMES[0], lambda content: b"", "is cut off: 0 bytes"),
        (NAMES[1], lambda content: b"\0\0\x0d" + content[3:], r"expected the magic number 2049 and found 3329"),
        (NAMES[3], lambda content: content[:7] + b"\x09" + content[8:-1], "10 images, but .* 9 labels"),
        (NAMES[3], lambda content: content[:-1] + b"\x0a", "labels from 0 to 9 and found 10 for sample 9"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_wrong_content(tmp_path, arrays, name, change, message, suffix):
    for key, array in arrays.items():
        content = change(idx(array)) if key == name else idx(array)
        (tmp_path / (key + suffix)).write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(UserError, match=message):
        open_dataset(f"mnist:{tmp_path}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-20], "is cut off: it ends too early"),
        (lambda content: b"no gzip" + content, "is damaged or not an IDX file .*Not a gzipped file"),
        (lambda content: content[:30] + b"\xff" * 9 + content[39:], "is damaged"),
    ],
)
def test_damaged_gzip(tmp_path, arrays, change, message):
    write(tmp_path, arrays, ".gz")
    path = tmp_path / (NAMES[0] + ".gz")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=message):
        open_dataset(f"mnist:{tmp_path}")


def test_no_samples(tmp_path, arrays):
    write(tmp_path, arrays | {NAMES[0]: arrays[NAMES[0]][:0], NAMES[1]: arrays[NAMES[1]][:0]})
    with pytest.raises(UserError, match="there is nothing in them"):
        open_dataset(f"mnist:{tmp_path}")


def test_missing_files_are_listed(tmp_path, arrays):
    write(tmp_path, {NAMES[0]: arrays[NAMES[0]]})
    with pytest.raises(UserError, match=f"lacks {', '.join(NAMES[1:])} .*with and without .gz"):
        open_dataset(f"mnist:{tmp_path}")
