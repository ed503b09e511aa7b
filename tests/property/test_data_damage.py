"""Whatever a file holds, opening it succeeds or raises a UserError of one line."""

import bz2
import gzip
import lzma
import pickle
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpitrain.data import open_dataset
from mpitrain.data.formats.idx import read_idx
from mpitrain.data.formats.unpickle import unpickle
from mpitrain.errors import UserError

RNG = np.random.default_rng(9)
IMAGES = RNG.integers(0, 256, (6, 3, 3), dtype=np.uint8)


def npz(save):
    def write(path):
        save(path, x=IMAGES, y=np.arange(6) % 2)
        return path.read_bytes()

    return write


def idx(path):
    return struct.pack(">4I", 0x803, *IMAGES.shape) + IMAGES.tobytes()


def objects(path):
    x, y = np.array([[k, k / 2, k > 3] for k in range(6)], object), np.array([*"abcabc"], object)
    np.savez(path, x=x, y=y)
    return path.read_bytes()


TABLE = b"a;b;y\n1;2;p\n3;4;q\n5;6;p\n"


def zstd(data):
    pyarrow = pytest.importorskip("pyarrow")
    return pyarrow.compress(data, "zstd", asbytes=True)


FORMATS = {
    "objects.npz": (objects, lambda path: open_dataset(f"npz:{path}")),
    "set.npz": (npz(np.savez), lambda path: open_dataset(f"npz:{path}")),
    "small.npz": (npz(np.savez_compressed), lambda path: open_dataset(f"npz:{path}")),
    "table.csv": (lambda path: TABLE, lambda path: open_dataset(f"csv:{path},target=y")),
    **{
        f"table.csv.{name}": (lambda path, pack=pack: pack(TABLE), lambda path: open_dataset(f"csv:{path},target=y"))
        for name, pack in {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}.items()
    },
    "table-16.csv": (
        lambda path: TABLE.decode().encode("utf-16"),
        lambda path: open_dataset(f"csv:{path},target=y"),
    ),
    "raw-idx": (idx, lambda path: read_idx(path, 3)),
    "idx.gz": (lambda path: gzip.compress(idx(path)), lambda path: read_idx(path, 3)),
    "pickle": (lambda path: pickle.dumps({b"data": IMAGES, b"labels": [1, 2, 300]}, 2), unpickle),
}


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_one_sentence(tmp_path, name, data):
    write, read = FORMATS[name]
    path = tmp_path / name
    content = bytearray(write(path))
    for _ in range(data.draw(st.integers(0, 4), "changes")):
        content[data.draw(st.integers(0, len(content) - 1), "place")] = data.draw(st.integers(0, 255), "value")
    path.unlink(missing_ok=True)
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)), "length")])
    said = sentence(read, path)
    assert said is None or (str(path) in said and "\n" not in said)


def sentence(read, path):
    try:
        read(path)
    except UserError as error:
        return str(error)
    return None
