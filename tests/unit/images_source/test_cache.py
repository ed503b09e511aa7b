"""The cache of decoded images: units, processes that are killed, disks that are full."""

import dataclasses
import errno
import os

import numpy as np
import pytest
from PIL import Image

from mpitrain.data import open_dataset
from mpitrain.data.images import decode as decoding
from mpitrain.data.images.decode import Shape
from mpitrain.data.media import store
from mpitrain.data.media.store import MediaStore
from mpitrain.data.sources import units_of
from mpitrain.errors import UserError
from tests.unit.images_source.pets import settle


def test_decoded_once(pets, cache, monkeypatch):
    first = open_dataset(f"images:{pets}")
    settle()
    assert not units_of(f"images:{pets}")
    monkeypatch.setattr(decoding, "decode", None)
    again = open_dataset(f"images:{pets}")
    np.testing.assert_array_equal(again.train.x, first.train.x)
    monkeypatch.undo()
    monkeypatch.setenv("MPITRAIN_IMAGES", str(cache))
    os.utime(pets / "cat" / "0.png", ns=(1, 1))
    assert units_of(f"images:{pets}")  # a changed file
    (pets / "cat" / "0.png").unlink()
    assert units_of(f"images:{pets}")
    assert units_of(f"images:{pets},size=9")


@pytest.fixture
def images(pets, monkeypatch):
    """A store whose units have four images each."""
    monkeypatch.setattr(store, "MOST_DECODED", 4 * 8 * 10 * 3)
    files = sorted(str(path) for path in pets.rglob("*.png"))
    return MediaStore(files, Shape(8, 10))


def expected(images):
    return np.stack([np.array(Image.open(file)) for file in images.files])


def test_units_in_any_order_and_from_several_processes(images):
    units = images.units()
    assert [(unit.start, unit.stop) for unit in units] == [(0, 4), (4, 8), (8, 12), (12, 16), (16, 18)]
    other = MediaStore(images.files, images.form)
    for unit in [*reversed(units), *other.units()]:
        unit.run()
    x, found = other.open()
    np.testing.assert_array_equal(x, expected(images))
    np.testing.assert_array_equal(images.open()[0], x)
    assert found.kinds == {"PNG RGB": 18}
    settle()
    assert sorted(path.name for path in images.folder.iterdir()) == ["index.json", "values.bin"]


def test_a_killed_process_is_continued(images, monkeypatch):
    units = images.units()
    units[1].run()
    units[3].run()
    read = []
    decode = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda file, shape: read.append(file) or decode(file, shape))
    x, _ = images.open()
    assert sorted(read) == sorted(images.files[k] for k in [*range(4), *range(8, 12), 16, 17])
    np.testing.assert_array_equal(x, expected(images))


def test_bad_files_of_a_later_unit(pets, images):
    (pets / "dog" / "3.png").write_text("")
    again = MediaStore(images.files, images.form)
    x, found = again.open()
    assert [images.files[number] for number in found.bad] == [str(pets / "dog" / "3.png")]
    assert sum(found.kinds.values()) == 17
    good = [number for number in range(18) if number not in found.bad]
    np.testing.assert_array_equal(x[good], np.stack([np.array(Image.open(images.files[k])) for k in good]))


def test_marks_count_while_the_machine_runs(images, monkeypatch):
    for unit in images.units():
        unit.run()
    read = []
    decode = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda file, shape: read.append(file) or decode(file, shape))
    monkeypatch.setattr(MediaStore, "_finish", lambda *_: None)  # it was killed before all was on the disk
    images.open()
    assert not read
    monkeypatch.setattr(store, "machine", lambda: ("other", "2"))  # another one, which sees the same disk
    images.open()
    assert not read
    monkeypatch.setattr(store, "machine", lambda: (os.uname().nodename, "2"))
    x, _ = images.open()
    assert sorted(read) == images.files
    np.testing.assert_array_equal(x, expected(images))


def test_an_index_counts_for_ever(images, monkeypatch):
    images.open()
    settle()
    monkeypatch.setattr(store, "machine", lambda: (os.uname().nodename, "2"))
    monkeypatch.setattr(decoding, "decode", None)
    np.testing.assert_array_equal(images.open()[0], expected(images))


def test_an_index_that_cannot_be_read(images):
    images.open()
    settle()
    images.index.write_text("{}")
    np.testing.assert_array_equal(images.open()[0], expected(images))
    settle()
    assert store.Findings.read(images.index).kinds == {"PNG RGB": 18}


def test_pixels_that_were_removed_are_made_again(images):
    images.open()
    settle()
    images.values.write_bytes(b"")
    x, _ = images.open()
    np.testing.assert_array_equal(x, expected(images))


def test_units_are_cut_by_the_bytes_of_files(pets, monkeypatch):
    files = sorted(str(path) for path in pets.rglob("*.png"))
    monkeypatch.setattr(store, "LEAST", 2 * os.path.getsize(files[0]))
    sizes = [unit.stop - unit.start for unit in MediaStore(files, Shape(8, 10)).units()]
    assert sum(sizes) == 18
    assert set(sizes) <= {1, 2, 3}


def test_a_cache_that_cannot_be_written(pets, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MPITRAIN_IMAGES", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"decoded images cannot be kept in .*; set MPITRAIN_IMAGES to another folder"):
        open_dataset(f"images:{pets}")


def test_a_full_disk(pets, cache, monkeypatch):
    def full(descriptor, data, offset):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match=r"decoded images cannot be kept in .*: No space left on device; set"):
        open_dataset(f"images:{pets}")
    assert not list(cache.rglob("*.json"))
    monkeypatch.undo()
    monkeypatch.setenv("MPITRAIN_IMAGES", str(cache))
    room = os.statvfs(cache)
    small = dataclasses.make_dataclass("Room", ["f_bavail", "f_frsize"])(1, room.f_frsize)
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: small)
    with pytest.raises(UserError, match=r"they take 0\.2 MB, and 0\.0 MB are free; set"):
        open_dataset(f"images:{pets},size=64")
