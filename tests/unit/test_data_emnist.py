"""EMNIST: upright images, six sets, labels of letters from 0 on."""

import gzip
import struct

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.data.formats import emnist
from mpitrain.data.formats.emnist import CLASSES
from mpitrain.data.mapped import is_mapped
from mpitrain.errors import UserError

RNG = np.random.default_rng(4)


def idx(array):
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def write(folder, split, labels, packed):
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for part, count in (("train", len(labels)), ("test", len(labels) - 1)):
        x, y = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8), np.array(labels[:count], np.uint8)
        for kind, array in (("images-idx3", x), ("labels-idx1", y)):
            path = folder / f"emnist-{split}-{part}-{kind}-ubyte{'.gz' * packed}"
            path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
        made[part] = x, y
    return made


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("split", "folder"), [("balanced", ""), ("letters", "gzip"), ("digits", "EMNIST/raw")])
def test_reads(tmp_path, split, folder, packed):
    first = split == "letters"
    made = write(tmp_path / folder, split, [9 + first, 0 + first, 3 + first], packed)
    data = open_dataset(f"emnist:{tmp_path},split={split}")
    assert (data.name, data.input_shape, data.class_names) == (f"emnist-{split}", (28, 28, 1), CLASSES[split])
    for part, own in (("train", data.train), ("test", data.test)):
        for image, written in zip(own.x, made[part][0]):
            np.testing.assert_array_equal(image[..., 0], written.T)
        np.testing.assert_array_equal(own.y, made[part][1].astype(int) - first)
    assert data.train.x.flags.c_contiguous


def test_large_sets_are_mapped(tmp_path, monkeypatch):
    monkeypatch.setenv("MPITRAIN_ARRAYS", str(tmp_path / "cache"))
    monkeypatch.setattr(emnist, "LARGE", 0)
    made = write(tmp_path, "digits", [9, 0, 3], packed=True)
    for _ in range(2):
        data = open_dataset(f"emnist:{tmp_path},split=digits")
        assert is_mapped(data.train.x)
        np.testing.assert_array_equal(data.train.x[..., 0], made["train"][0].swapaxes(1, 2))
    assert len(list((tmp_path / "cache").glob("*/values.npy"))) == 2


def test_classes():
    assert {split: len(names) for split, names in CLASSES.items()} == {
        **{"balanced": 47, "byclass": 62, "bymerge": 47},
        **{"letters": 26, "digits": 10, "mnist": 10},
    }
    assert CLASSES["byclass"][36] == "a"
    assert CLASSES["balanced"][35:38] == ("Z", "a", "b")


def test_balanced_is_the_default(tmp_path):
    write(tmp_path, "balanced", [0, 46, 1], packed=True)
    assert open_dataset(f"emnist:{tmp_path}").num_outputs == 47


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "lacks emnist-balanced-train-images-idx3-ubyte"),
        (",split=all", "split=all must be balanced, byclass, bymerge, letters, digits or mnist"),
        (",spilt=mnist", r"no option 'spilt' \(did you mean 'split'"),
    ],
)
def test_what_cannot_be_opened(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        open_dataset(f"emnist:{tmp_path}{options}")


def test_a_label_that_is_no_letter(tmp_path):
    write(tmp_path, "letters", [1, 27, 2], packed=False)
    with pytest.raises(UserError, match="expected labels from 0 to 25 and found 26"):
        open_dataset(f"emnist:{tmp_path},split=letters")
