import pickle

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.errors import UserError

RNG = np.random.default_rng(2)
NAMES = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]


@pytest.fixture
def batches():
    return {name: (RNG.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8), RNG.integers(0, 10, 4)) for name in NAMES}


def binary(images, labels):
    return np.concatenate([labels.astype(np.uint8)[:, None], images.reshape(-1, 3072)], axis=1).tobytes()


def python(images, labels, protocol=2):
    batch = {b"data": images.reshape(-1, 3072), b"labels": labels.tolist(), b"batch_label": b"testing", b"n": 1}
    return pickle.dumps(batch, protocol)


def python_2(images, labels):
    """The bytes that cPickle of Python 2 wrote: texts as byte strings, NumPy's old module name."""

    def text(value):
        return b"T" + len(value).to_bytes(4, "little") + value

    def number(value):
        return b"J" + int(value).to_bytes(4, "little", signed=True)

    kind = b"cnumpy\ndtype\n(" + text(b"u1") + number(0) + number(1) + b"tR"
    kind += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"t" + text(b"b") + b"tR"
    array += b"(" + number(1) + number(len(images)) + number(3072) + b"\x86" + kind + b"\x89"
    array += text(images.tobytes()) + b"tb"
    items = text(b"data") + array + text(b"labels") + b"](" + b"".join(map(number, labels)) + b"e"
    return b"\x80\x02}(" + items + b"u."


FORMATS = {"bin": (binary, ".bin"), "py": (python, ""), "py-2": (python_2, "")}


@pytest.mark.parametrize("version", FORMATS)
@pytest.mark.parametrize("folder", ["", "cifar-10-batches-bin", "cifar-10-batches-py"])
def test_reads(tmp_path, batches, version, folder):
    write, suffix = FORMATS[version]
    (tmp_path / folder).mkdir(exist_ok=True)
    for name, (images, labels) in batches.items():
        (tmp_path / folder / (name + suffix)).write_bytes(write(images, labels))
    data = open_dataset(f"cifar10:{tmp_path}")
    images, labels = (np.concatenate([batches[name][k] for name in NAMES[:5]]) for k in (0, 1))
    assert (data.input_shape, data.num_outputs, data.class_names[9]) == ((32, 32, 3), 10, "truck")
    np.testing.assert_array_equal(data.train.x, images.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(data.train.y, labels)
    np.testing.assert_array_equal(data.test.x, batches["test_batch"][0].transpose(0, 2, 3, 1))
    assert data.train.x.flags.c_contiguous


def test_old_pickles_are_what_pickle_reads(batches):
    images, labels = batches["test_batch"]
    batch = pickle.loads(python_2(images, labels), encoding="bytes")
    np.testing.assert_array_equal(batch[b"data"], images.reshape(-1, 3072))
    assert batch[b"labels"] == labels.tolist()


class Harm:
    def __reduce__(self):
        return print, ("harm",)


DATA, LABELS = np.zeros((2, 3072), np.uint8), [1, 2]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (Harm(), r"test_batch asks for (builtins|__builtin__).print, expected nothing but arrays"),
        ({b"data": DATA.astype(object), b"labels": LABELS}, "asks for an array of type O8"),
        ({b"data": DATA.astype(np.float32), b"labels": LABELS}, "asks for an array of type f4"),
        ({b"data": DATA[:, :-1], b"labels": LABELS}, r"expected an array 'data' of shape \(N, 3072\)"),
        ({b"data": [1], b"labels": LABELS}, "expected an array 'data'"),
        ([1, 2], "expected an array 'data'"),
        ({b"data": DATA, b"labels": [b"cat", b"dog"]}, "expected 'labels', a list of integers"),
        ({b"data": DATA, b"labels": [1]}, "holds 2 images, but 1 labels"),
        ({b"data": DATA, b"labels": [1, 10]}, "labels from 0 to 9 and found 10"),
        ({b"data": DATA, b"labels": [1, 1 << 70]}, "labels from 0 to 9 and found 1180591620717411303424"),
    ],
)
def test_other_pickles(tmp_path, capsys, batches, batch, message):
    for name, content in batches.items():
        (tmp_path / name).write_bytes(python(*content) if name != "test_batch" else pickle.dumps(batch, 2))
    with pytest.raises(UserError, match=message):
        open_dataset(f"cifar10:{tmp_path}")
    assert not capsys.readouterr().out


@pytest.mark.parametrize("length", [0, 1, 10, 200, -1])
def test_cut_off_pickle(tmp_path, batches, length):
    for name, content in batches.items():
        (tmp_path / name).write_bytes(python(*content))
    (tmp_path / NAMES[2]).write_bytes(python(*batches[NAMES[2]])[:length])
    with pytest.raises(UserError, match="data_batch_3 is cut off or no pickle"):
        open_dataset(f"cifar10:{tmp_path}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "data_batch_2.bin is cut off: it has 0 bytes, expected a multiple of 3073"),
        (bytes(3072), "it has 3072 bytes"),
        (b"\x0a" + bytes(3072), "labels from 0 to 9 and found 10"),
    ],
)
def test_wrong_binary(tmp_path, batches, content, message):
    for name, batch in batches.items():
        (tmp_path / f"{name}.bin").write_bytes(binary(*batch))
    (tmp_path / "data_batch_2.bin").write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_dataset(f"cifar10:{tmp_path}")


def test_missing_batches(tmp_path, batches):
    with pytest.raises(UserError, match=r"holds no CIFAR-10: looked for data_batch_1.bin and data_batch_1"):
        open_dataset(f"cifar10:{tmp_path}")
    for name in NAMES[:3]:
        (tmp_path / f"{name}.bin").write_bytes(binary(*batches[name]))
    with pytest.raises(UserError, match=r"lacks data_batch_4.bin, data_batch_5.bin, test_batch.bin"):
        open_dataset(f"cifar10:{tmp_path}")
