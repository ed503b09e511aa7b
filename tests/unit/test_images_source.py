"""Sources of image files: folders, tables of labels, the cache and bad files."""

import dataclasses
import errno
import json
import os
import threading

import numpy as np
import pytest
from PIL import Image

from mpitrain.data import lazy, open_dataset, open_features
from mpitrain.data.images import decode as decoding
from mpitrain.data.images import describe_images
from mpitrain.data.images.decode import Shape
from mpitrain.data.mapped import is_mapped
from mpitrain.data.matching import pieces
from mpitrain.data.matching.rows import as_trained, open_rows, open_samples
from mpitrain.data.matching.signature import Signature
from mpitrain.data.media import store
from mpitrain.data.media.store import MediaStore
from mpitrain.data.sources import absolute_source, inherit_options, units_of
from mpitrain.data.validation import with_validation
from mpitrain.errors import UserError

RNG = np.random.default_rng(6)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MPITRAIN_IMAGES", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "cache"
    settle()


def settle():
    """Wait for the threads that wait for the disk."""
    for thread in threading.enumerate():
        if thread.name == "samples-to-disk":
            thread.join()


def write(path, tone=None, size=(8, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (*size, 3)) if tone is None else np.full((*size, 3), tone)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return pixels


@pytest.fixture
def pets(tmp_path):
    """Six images of each class; the first channel tells the class, the second the number."""
    for code, name in enumerate(["cat", "dog", "Äpfel & Co"]):
        for number in range(6):
            write(tmp_path / "pets" / name / f"{number}.png", (100 * code, number, 0))
    return tmp_path / "pets"


def told(dataset):
    """The class of each image as its pixels tell it, and as the dataset does."""
    of_pixels = [
        ["cat", "dog", "Äpfel & Co"][int(x[0, 0, 0]) // 100] for split in dataset.splits.values() for x in split.x
    ]
    return of_pixels, [dataset.class_names[y] for split in dataset.splits.values() for y in split.y]


def test_folders_of_classes(pets):
    (pets / "cat" / ".hidden.png").write_text("no image")
    (pets / ".git").mkdir()
    (pets / "notes.txt").write_text("none")
    (pets / "empty").mkdir()
    write(pets / "loose.png")
    (pets / "dog" / "below").mkdir()
    (pets / "dog" / "5.png").rename(pets / "dog" / "below" / "5.PNG")
    data = open_dataset(f"images:{pets}")
    assert (data.name, data.task, data.input_shape) == ("pets", "classification", (8, 10, 3))
    assert data.class_names == ("cat", "dog", "Äpfel & Co")
    assert (len(data.train), len(data.test)) == (14, 4)
    of_pixels, of_targets = told(data)
    assert of_pixels == of_targets
    notes = " | ".join(data.notes)
    assert "1 image is in no folder of a class, and left out" in notes
    assert "the folder 'empty' holds no images: no class" in notes
    assert "1 file is no image by name, and left out (first notes.txt)" in notes
    assert open_features(f"images:{pets}").x.shape == (19, 8, 10, 3)


def test_numbers_as_classes_are_in_numeric_order(tmp_path):
    for name in ("10", "9"):
        for number in range(3):
            write(tmp_path / "digits" / name / f"{number}.png")
    assert open_dataset("images:digits").class_names == ("9", "10")


@pytest.mark.parametrize("names", [("train", "test"), ("train", "val"), ("Training", "testing", "valid")])
def test_splits_of_their_own(tmp_path, names):
    for part, name in enumerate(names):
        for code, label in enumerate(["cat", "dog"]):
            for number in range(3 - part):
                write(tmp_path / "pets" / name / label / f"{number}.png", (100 * code, number, 0))
    data = open_dataset("images:pets")
    assert {part: len(split) for part, split in data.splits.items()} == dict(
        zip(["train", "test", "validation"], [6, 4, 2][: len(names)])
    )
    assert told(data)[0] == told(data)[1]
    if len(names) == 3:
        with pytest.raises(UserError, match="has some of its own"):
            with_validation(data, 0.1, 0)


def test_a_class_named_train(tmp_path):
    for name in ("train", "truck"):
        for number in range(3):
            write(tmp_path / "vehicles" / name / "seen" / f"{number}.png")
    assert open_dataset("images:vehicles").class_names == ("train", "truck")


def test_test_images_without_classes(tmp_path, pets):
    pets.rename(tmp_path / "train")
    write(tmp_path / "set" / "test" / "1.png")
    (tmp_path / "train").rename(tmp_path / "set" / "train")
    data = open_dataset("images:set")
    assert len(data.train) + len(data.test) == 18
    assert any("set/test holds no folders of classes, and is left out" in note for note in data.notes)


def test_unseen_class_of_the_test_images(tmp_path):
    for part, label in [("train", "a"), ("train", "b"), ("test", "c")]:
        write(tmp_path / "set" / part / label / "1.png")
    with pytest.raises(UserError, match="the class 'c' is in the test split, but not in the training one"):
        open_dataset("images:set")


def test_another_folder_to_test_on(tmp_path, pets):
    write(tmp_path / "more" / "dog" / "1.png", (100, 0, 0))
    data = open_dataset(f"images:{pets},test=more")
    assert (len(data.train), len(data.test)) == (18, 1)
    assert told(data)[0] == told(data)[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no directory"),
        (lambda path: path.write_text(""), "is a file, expected the directory"),
        (lambda path: path.mkdir(), "holds no images$"),
        (lambda path: (path / "cat").mkdir(parents=True), "holds no images$"),
        (lambda path: [path.mkdir(), (path / "a.txt").write_text("")], r"holds no images \(1 files of other kinds\)"),
        (lambda path: write(path / "a.png"), "no folders that name their classes: labels=FILE.csv tells them"),
        (lambda path: [write(path / "cat" / f"{k}.png") for k in range(2)], "all images are of the class 'cat'"),
        (
            lambda path: [write(path / f"{k}" / "a.png", size=(8, 8 + k)) for k in range(2)],
            "has 8x9 pixels, and others 8x8",
        ),
    ],
)
def test_directories_without_what_is_needed(tmp_path, make, message):
    make(tmp_path / "set")
    with pytest.raises(UserError, match=message):
        open_dataset("images:set")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (",siez=3", r"no option 'siez' \(did you mean 'size'"),
        (",size=0", "size=0 must be the side"),
        (",size=3x4x5", "size=3x4x5 must be the side"),
        (",channels=4", "channels=4 must be 3 or 1"),
        (",fit=zoom", "fit=zoom must be crop, stretch or pad"),
        (",resize=9", "it needs size="),
        (",size=9,resize=8", "resize=8 is smaller than size="),
        (",size=9,size=8", "size= is given twice"),
        (",target=x", "which is not given"),
        (",labels=none.csv", "there is no file none.csv"),
    ],
)
def test_options(pets, options, message):
    with pytest.raises(UserError, match=message):
        open_dataset(f"images:{pets}{options}")


def test_other_tasks_need_labels(pets):
    with pytest.raises(UserError, match="regression needs their targets in labels="):
        open_dataset(f"images:{pets}", task="regression")
    with pytest.raises(UserError, match="a class or values for each file: the task segmentation is for others"):
        open_dataset(f"images:{pets}", task="segmentation")


def test_table_of_labels(tmp_path):
    lines = ["label,file,taken"]
    for number in range(12):
        write(tmp_path / "photos" / f"{number}.png", (100 * (number % 2), number, 0))
        lines.append(f"{['cat', 'dog'][number % 2]},{number}.png,2020")
    write(tmp_path / "photos" / "other.png")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    data = open_dataset("images:photos,labels=labels.csv")
    assert (data.class_names, data.target_name, len(data.train) + len(data.test)) == (("cat", "dog"), "label", 12)
    assert told(data)[0] == told(data)[1]
    (tmp_path / "test.csv").write_text("\n".join(lines[:3]))
    data = open_dataset("images:photos,labels=labels.csv,test=test.csv")
    assert (len(data.train), len(data.test)) == (12, 2)
    assert told(data)[0] == told(data)[1]


def test_values_of_images(tmp_path):
    lines = ["image,x,y"]
    for number in range(10):
        write(tmp_path / "photos" / f"{number}.png", (number, 2 * number, 0))
        lines.append(f"{number}.png,{number + 0.5},{2 * number}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match="is predicted with target=COLUMN; there are 'image', 'x', 'y'"):
        open_dataset("images:photos,labels=labels.csv")
    data = open_dataset("images:photos,labels=labels.csv,target=x,y")
    assert (data.task, data.num_outputs, data.target_name) == ("regression", 2, "x,y")
    for split in data.splits.values():
        np.testing.assert_allclose(split.y, split.x[:, 0, 0, :2] + [0.5, 0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,label\n0.png,a\nnone.png,b\nno.png,b\n",
            r"row 2 names 'none.png', but there is no .*, and 1 more",
        ),
        ("file,label\n", "has a header, but no rows"),
        ("file,label\n0.png,\n", "1 missing value, the first in column 'label'"),
        ("file\n0.png\n", "say which column is predicted"),
    ],
)
def test_tables_without_what_is_needed(tmp_path, text, message):
    write(tmp_path / "photos" / "0.png")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        open_dataset("images:photos,labels=labels.csv")


def test_bad_files_are_named_or_left_out(pets, cache):
    for name in ("dog/1.png", "cat/0.png"):
        (pets / name).write_bytes((pets / name).read_bytes()[:45])
    (pets / "dog" / "2.png").write_text("")
    with pytest.raises(UserError, match=r"3 of 18 files cannot be decoded, .*cat/0.png \(.*with bad=skip"):
        open_dataset(f"images:{pets},size=8x10")
    lines = list(describe_images(f"{pets},size=8x10"))
    assert [line.split(":")[0].rsplit("/", 2)[1:] for line in lines if line[0] == "!"] == [
        ["cat", "0.png"],
        ["dog", "1.png"],
        ["dog", "2.png"],
    ]
    settle()
    before = sorted(cache.rglob("*"))
    data = open_dataset(f"images:{pets},size=8x10,bad=skip")
    assert sorted(cache.rglob("*")) == before  # not decoded again
    assert len(data.train) + len(data.test) == 15
    assert told(data)[0] == told(data)[1]
    assert sum("3 of 18 files cannot be decoded" in note for note in data.notes) == 1
    for path in pets.rglob("*.png"):
        path.write_text("")
    with pytest.raises(UserError, match=r"18 of 18 files cannot be decoded.*: there are no others"):
        open_dataset(f"images:{pets},size=8x10,bad=skip")


def test_the_first_image_is_bad(pets):
    (pets / "cat" / "0.png").write_text("")
    with pytest.raises(UserError, match=r"cat/0.png cannot be decoded .*: size=224,bad=skip leaves it out"):
        open_dataset(f"images:{pets}")


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


def test_pillow_is_not_installed(pets, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(UserError, match=r"need Pillow, which is not installed: pip install 'mpitrain\[images\]'"):
        open_dataset(f"images:{pets}")


def test_many_images_stay_in_the_file(pets, monkeypatch):
    monkeypatch.setattr(lazy, "COPIED", 0)
    data = with_validation(open_dataset(f"images:{pets}"), 0.2, 0)
    assert all(is_mapped(split.x) for split in data.splits.values())
    assert told(data)[0] == told(data)[1]


def test_for_a_trained_model(tmp_path, pets):
    data = open_dataset(f"images:{pets},size=4x6,channels=1,fit=stretch")
    signature = Signature.of(data, source=f"images:{pets},size=4x6,channels=1,fit=stretch,test=x,labels=y")
    write(tmp_path / "new" / "dog" / "b.png", (100, 0, 0), size=(30, 20))
    write(tmp_path / "new" / "dog" / "a.png", (100, 0, 0))
    assert as_trained("images:new", signature) == "images:new,size=4x6,channels=1,fit=stretch"
    rows = open_rows("images:new", signature)
    assert (rows.split, len(rows), rows.parts[0].x.shape[1:]) == ("all", 2, (4, 6, 1))
    assert rows.parts[0].y.tolist() == [1, 1]
    found = open_samples("images:new/dog", signature)
    assert (found.files, found.split, found.total) == (("a.png", "b.png"), "all", 2)
    assert open_samples("images:new", signature).files == ("dog/a.png", "dog/b.png")
    write(tmp_path / "new" / "fox" / "b.png")
    with pytest.raises(UserError, match="a class that the model does not know: 'fox'"):
        open_rows("images:new", signature)
    automatic = Signature.of(open_dataset(f"images:{pets}"), source=f"images:{pets}")
    assert as_trained("images:new", automatic) == "images:new,size=8x10,channels=3"
    assert as_trained("digits", automatic) == "digits"


def test_names_of_files_in_pieces_have_one_type(tmp_path, pets, monkeypatch):
    """Later names are longer: arrays that grow piece by piece would cut them."""
    monkeypatch.setattr(pieces, "LEAST", 1)
    (pets / "dog" / "5.png").rename(pets / "dog" / "a longer name.png")
    signature = Signature.of(open_dataset(f"images:{pets}"), source=f"images:{pets}")
    found = pieces.open_pieces(f"images:{pets}", signature, lambda x: 4)
    files = [found.files(number) for number in range(len(found))]
    assert len(files) == 5
    assert len({part.dtype for part in files}) == 1
    assert np.concatenate(files).tolist() == list(open_samples(f"images:{pets}", signature).files)


def test_paths_of_a_source(tmp_path):
    made = absolute_source("images:a,size=9,labels=b.csv,test=c.csv")
    assert made == f"images:{tmp_path}/a,size=9,labels={tmp_path}/b.csv,test={tmp_path}/c.csv"
    trained = "images:a,size=9,labels=l.csv,target=x,y,test=t.csv,bad=skip"
    assert inherit_options("images:b", trained) == "images:b,size=9,bad=skip"
    assert inherit_options("images:b,labels=m.csv", trained) == "images:b,labels=m.csv,size=9,target=x,y,bad=skip"


@pytest.mark.skipif(os.name != "posix", reason="names of bytes")
def test_odd_names(tmp_path):
    folder = os.fsencode(tmp_path) + b"/set"
    for name in (b"caf\xe9", b"new\nline", b"a,size=3"):
        os.makedirs(folder + b"/" + name)
        for number in range(3):
            Image.new("RGB", (4, 4)).save(os.fsdecode(folder + b"/" + name + b"/\xff%d.png" % number))
    data = open_dataset("images:set")
    assert data.class_names == ("a,size=3", "caf\\xe9", "new\nline")
    json.dumps(data.class_names).encode()


def test_links(tmp_path, pets):
    (pets / "cat" / "again").symlink_to(pets)  # a circle
    (pets / "cat" / "gone.png").symlink_to(tmp_path / "none.png")
    os.mkfifo(pets / "dog" / "pipe.png")
    with pytest.raises(UserError, match=r"gone\.png cannot be read"):
        open_dataset(f"images:{pets}")
    (pets / "cat" / "gone.png").unlink()
    data = open_dataset(f"images:{pets}")
    assert len(data.train) + len(data.test) == 18
