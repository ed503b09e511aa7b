"""Folders of image files as a source: classes, splits, options, odd names."""

import json
import os

import pytest
from PIL import Image

from mpitrain.data import lazy, open_dataset, open_features
from mpitrain.data.mapped import is_mapped
from mpitrain.data.sources import absolute_source, inherit_options
from mpitrain.data.validation import with_validation
from mpitrain.errors import UserError
from tests.unit.images_source.pets import told, write


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


def test_pillow_is_not_installed(pets, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(UserError, match=r"need Pillow, which is not installed: pip install 'mpitrain\[images\]'"):
        open_dataset(f"images:{pets}")


def test_many_images_stay_in_the_file(pets, monkeypatch):
    monkeypatch.setattr(lazy, "COPIED", 0)
    data = with_validation(open_dataset(f"images:{pets}"), 0.2, 0)
    assert all(is_mapped(split.x) for split in data.splits.values())
    assert told(data)[0] == told(data)[1]


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
