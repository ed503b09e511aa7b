"""CIFAR-100 in both versions, with fine and coarse classes."""

import pickle

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.data.formats.cifar100 import COARSE_CLASSES, FINE_CLASSES
from mpitrain.errors import UserError

RNG = np.random.default_rng(3)


@pytest.fixture
def parts():
    made = {}
    for name, count in (("train", 6), ("test", 3)):
        fine, coarse = RNG.integers(0, 100, count), RNG.integers(0, 20, count)
        made[name] = RNG.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8), fine, coarse
    return made


def write(folder, version, parts):
    folder.mkdir(exist_ok=True)
    for name, (images, fine, coarse) in parts.items():
        pixels = images.reshape(-1, 3072)
        if version == "bin":
            labels = np.stack([coarse, fine], axis=1).astype(np.uint8)
            (folder / f"{name}.bin").write_bytes(np.concatenate([labels, pixels], axis=1).tobytes())
        else:
            batch = {b"data": pixels, b"fine_labels": fine.tolist(), b"coarse_labels": coarse.tolist()}
            (folder / name).write_bytes(pickle.dumps(batch, 2))


@pytest.mark.parametrize(("labels", "which", "names"), [("fine", 1, FINE_CLASSES), ("coarse", 2, COARSE_CLASSES)])
@pytest.mark.parametrize(("version", "folder"), [("bin", ""), ("bin", "cifar-100-binary"), ("py", "cifar-100-python")])
def test_reads(tmp_path, parts, version, folder, labels, which, names):
    write(tmp_path / folder, version, parts)
    data = open_dataset(f"cifar100:{tmp_path},labels={labels}")
    assert (data.name, data.input_shape, data.class_names) == ("cifar100", (32, 32, 3), names)
    for name, split in (("train", data.train), ("test", data.test)):
        np.testing.assert_array_equal(split.x, parts[name][0].transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(split.y, parts[name][which])


def test_classes():
    assert (len(FINE_CLASSES), len(COARSE_CLASSES)) == (100, 20)
    assert (*FINE_CLASSES,) == tuple(sorted(FINE_CLASSES))
    assert FINE_CLASSES[::33] == ("apple", "forest", "raccoon", "worm")


def test_fine_classes_are_the_default(tmp_path, parts):
    write(tmp_path, "bin", parts)
    assert open_dataset(f"cifar100:{tmp_path}").num_outputs == 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (",labels=all", "labels=all must be fine or coarse"),
        (",lables=fine", r"no option 'lables' \(did you mean 'labels'"),
    ],
)
def test_options(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        open_dataset(f"cifar100:{tmp_path}{options}")


def test_damaged_files(tmp_path, parts):
    with pytest.raises(UserError, match=r"holds no CIFAR-100: looked for train\.bin"):
        open_dataset(f"cifar100:{tmp_path}")
    write(tmp_path, "bin", parts)
    whole = (tmp_path / "train.bin").read_bytes()
    (tmp_path / "train.bin").write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"train\.bin is cut off: .* a multiple of 3074"):
        open_dataset(f"cifar100:{tmp_path}")
    (tmp_path / "train.bin").write_bytes(b"\x00\x64" + whole[2:])
    with pytest.raises(UserError, match=r"train\.bin: expected labels from 0 to 99 and found 100"):
        open_dataset(f"cifar100:{tmp_path}")
    write(tmp_path / "py", "py", parts)
    (tmp_path / "py" / "test").write_bytes(pickle.dumps({b"data": parts["test"][0].reshape(-1, 3072)}, 2))
    with pytest.raises(UserError, match="test is no CIFAR-100 batch: expected 'coarse_labels'"):
        open_dataset(f"cifar100:{tmp_path}/py,labels=coarse")
