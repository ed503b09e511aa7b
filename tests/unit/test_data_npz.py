"""Arrays in npz archives: their names, shapes, types and splits; stored, compressed and as Python objects."""

import pickle

import numpy as np
import pytest

from mpitrain.data import open_dataset, open_features
from mpitrain.data.formats.npz import read_member
from mpitrain.errors import UserError
from tests.small_arrays import IMAGES, LABELS, TABLE


@pytest.fixture
def path(tmp_path):
    return tmp_path / "set.npz"


def test_own_splits(path):
    np.savez(path, x_train=IMAGES[:15], y_train=LABELS[:15], x_test=IMAGES[15:], y_test=LABELS[15:])
    data = open_dataset(f"npz:{path}")
    np.testing.assert_array_equal(data.train.x, IMAGES[:15])
    np.testing.assert_array_equal(data.test.y, LABELS[15:])
    assert (data.name, data.task, data.class_names) == ("set", "classification", ("0", "1", "2"))
    assert data.notes[0].endswith("classification, since the targets are integers")


def test_a_test_split_is_drawn(path):
    np.savez_compressed(path, x=TABLE, y=TABLE[:, 0])
    data = open_dataset(f"npz:{path}", test_fraction=0.25, seed=3)
    assert (data.task, data.num_outputs, len(data.train), len(data.test)) == ("regression", 1, 15, 5)
    assert data.train.x.dtype == data.train.y.dtype == np.float64
    rows = np.concatenate([data.train.x, data.test.x])
    assert sorted(rows[:, 0]) == sorted(TABLE[:, 0])
    np.testing.assert_array_equal(data.train.x[:, 0], data.train.y[:, 0])
    again, other = (open_dataset(f"npz:{path}", test_fraction=0.25, seed=seed) for seed in (3, 4))
    np.testing.assert_array_equal(data.test.x, again.test.x)
    assert not np.array_equal(data.test.x, other.test.x)


def test_several_targets_and_grey_images(path):
    np.savez(path, x=IMAGES[..., 0], y=TABLE[:, :2])
    data = open_dataset(f"npz:{path}")
    assert (data.task, data.num_outputs, data.input_shape) == ("regression", 2, (4, 4, 1))


def test_stored_bytes_are_mapped(path):
    np.savez(path, x=IMAGES, y=TABLE, f=np.asfortranarray(IMAGES))
    assert isinstance(read_member(path, "x"), np.memmap)
    np.testing.assert_array_equal(read_member(path, "x"), IMAGES)
    np.testing.assert_array_equal(read_member(path, "y"), TABLE)
    np.testing.assert_array_equal(read_member(path, "f"), IMAGES)
    np.savez_compressed(path, x=IMAGES)
    assert not isinstance(read_member(path, "x"), np.memmap)


WITH_NAN = np.where(np.arange(100).reshape(20, 5) == 13, np.nan, TABLE)


@pytest.mark.parametrize(
    ("arrays", "task", "message"),
    [
        ({"a": TABLE}, None, "set.npz holds a, expected arrays named x and y, or x_train"),
        ({"x": TABLE, "y": LABELS[:19]}, None, "20 samples, but targets for 19"),
        ({"x": TABLE, "y": np.array(3)}, None, "the targets are a single value"),
        ({"x": TABLE[:0], "y": LABELS[:0]}, None, "there is nothing in them"),
        ({"x": TABLE[:1], "y": LABELS[:1]}, "regression", "1 sample cannot be split"),
        ({"x": WITH_NAN, "y": LABELS}, None, "samples hold NaN, Inf .* first in row 2"),
        ({"x": TABLE.astype(np.longdouble) * np.longdouble("1e4000"), "y": LABELS}, None, "more than float64 can hold"),
        (
            {"x": np.int64(2**53) + LABELS[:, None], "y": LABELS},
            None,
            "integers that float64 cannot .* row 1: sub",
        ),
        ({"x": np.full((20, 1), 2**64 - 1, np.uint64), "y": LABELS}, None, "hold integers that float64 .* row 0"),
        ({"x": np.full((20, 1), 2**63 - 1), "y": LABELS}, None, "hold integers that float64 cannot"),
        ({"x": TABLE, "y": 2**60 + LABELS}, "regression", "the targets hold integers that float64 .* row 1"),
        ({"x": TABLE, "y": WITH_NAN[:, 3]}, None, "targets hold NaN"),
        ({"x": TABLE, "y": WITH_NAN[:, 3]}, "classification", "text or integers"),
        ({"x": TABLE, "y": np.full(20, np.inf)}, "classification", "row 0 has inf"),
        ({"x": TABLE[:, 0], "y": LABELS}, None, r"shape \(20,\), expected \(N, F\)"),
        ({"x": TABLE.astype(complex), "y": LABELS}, None, "type complex128, expected numbers"),
        ({"x": TABLE.astype(str), "y": LABELS}, None, "expected numbers"),
        ({"x": TABLE, "y": LABELS * 0}, None, "all samples are of the class '0'"),
        ({"x": TABLE, "y": LABELS.astype(str)}, "regression", "targets are of type <U21, expected numbers"),
        ({"x": TABLE, "y": TABLE}, "classification", r"labels have the shape \(20, 5\)"),
        (
            {"x": TABLE, "y": np.eye(3)[LABELS]},
            None,
            r"row of 3: save y.argmax\(1\) .*--task regression",
        ),
        ({"x": TABLE, "y": np.eye(3, dtype=bool)[LABELS]}, "classification", r"one-hot, .* save y.argmax\(1\)"),
        (
            {"x": TABLE, "y": 2.0**53 + LABELS},
            "classification",
            r"float64, which .* row 0 has 9007199254740992: s",
        ),
        (
            {"x": TABLE, "y": (2**24 + LABELS).astype(np.float32)},
            "classification",
            r"from 2\*\*24 on apart, and row 0 has 16777216",
        ),
        ({"x": TABLE, "y": np.datetime64("2020-01-01") + LABELS}, "classification", "are of type datetime64"),
        (
            {"x_train": TABLE, "y_train": LABELS, "x_test": TABLE, "y_test": LABELS.astype(str)},
            None,
            "the labels to train on are integers, but those to test on text",
        ),
        (
            {"x_train": TABLE, "y_train": LABELS, "x_test": TABLE[:, 1:], "y_test": LABELS},
            None,
            r"different shapes, \(5,\) and \(4,\)",
        ),
        (
            {"x_train": TABLE, "y_train": LABELS, "x_test": TABLE, "y_test": LABELS + 1},
            None,
            "the class '3' is in the test split, but not in the training one",
        ),
    ],
)
def test_unfit_arrays(path, arrays, task, message):
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=message):
        open_dataset(f"npz:{path}", task=task)


def test_values_are_kept_as_wide_as_they_must_be(path):
    for x, dtype in [
        (TABLE, np.float64),
        (TABLE.astype(">f8"), np.float64),
        (TABLE.astype(np.float32), np.float32),
        (TABLE.astype(np.float16), np.float32),
        (LABELS[:, None], np.float32),
        (2**24 + LABELS[:, None] // 2, np.float64),
        (np.int64(2) ** 60 + 256 * LABELS[:, None], np.float64),
        (LABELS[:, None].astype(np.uint8), np.float32),
        (LABELS[:, None] == 1, np.float32),
        (1e300 * TABLE, np.float64),
        (IMAGES, np.uint8),
        (IMAGES / 255, np.float64),
    ]:
        np.savez(path, x=x)
        found = open_features(f"npz:{path}").x
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_objects_of_every_kind_of_pickle(path, version, monkeypatch):
    dump = pickle.dump
    monkeypatch.setattr(pickle, "dump", lambda obj, file, **options: dump(obj, file, protocol=version))
    x = np.array([[1, 2.5, True], [np.float32(0.5), np.int8(-3), False]], object)
    for order in ("C", "F"):
        np.savez_compressed(path, x=np.asarray(x, order=order))
        np.testing.assert_array_equal(open_features(f"npz:{path}").x, x.astype(float))


def test_a_damaged_pickle(path):
    np.savez(path, x=TABLE, y=np.array(["a", "b"] * 10, object))
    content = bytearray(path.read_bytes())
    place = content.index(b"_reconstruct")
    content[place + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"set\.npz"):
        open_dataset(f"npz:{path}")
    content[place + 3] ^= 1
    content[content.index(b"a", content.index(b"dtype", place) + 40)] ^= 4
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged .*CRC|damaged"):
        open_dataset(f"npz:{path}")


NAMES = {
    "x_train": "x_train y_train x_test y_test",
    "X_train": "X_train y_train X_test y_test",
    "train_x": "train_x train_y test_x test_y",
    "trainX": "trainX trainY testX testY",
    "images": "train_images train_labels test_images test_labels",
    "data": "data_train target_train data_test target_test",
    "unprefixed": "images labels test_images test_labels",
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_common_names_of_splits(path, names):
    np.savez(path, **dict(zip(names.split(), (IMAGES[:15], LABELS[:15], IMAGES[15:], LABELS[15:]))))
    data = open_dataset(f"npz:{path}")
    np.testing.assert_array_equal(data.train.x, IMAGES[:15])
    np.testing.assert_array_equal(data.test.x, IMAGES[15:])
    np.testing.assert_array_equal(data.test.y, LABELS[15:])
    expected = IMAGES[:15] if names.startswith("images") else IMAGES[15:]
    np.testing.assert_array_equal(open_features(f"npz:{path}").x, expected)
    assert not any("used" in note for note in data.notes)


@pytest.mark.parametrize(
    "names", ["x y", "X y", "X Y", "images labels", "data target", "features targets", "x_train y_train"]
)
def test_common_names_of_one_table(path, names):
    np.savez(path, **dict(zip(names.split(), (TABLE, LABELS))))
    data = open_dataset(f"npz:{path}")
    assert len(data.train) + len(data.test) == 20


def test_a_validation_split_is_not_mixed_in(path):
    train, val, test = slice(0, 12), slice(12, 16), slice(16, 20)
    splits = {"train": train, "val": val, "test": test}
    arrays = {f"{kind}_{name}": a[s] for name, s in splits.items() for kind, a in (("x", TABLE), ("y", LABELS))}
    np.savez(path, **arrays)
    data = open_dataset(f"npz:{path}")
    assert (len(data.train), len(data.test)) == (12, 4)
    np.testing.assert_array_equal(data.test.x, TABLE[test])
    assert data.notes[0].endswith("set.npz: x_val, y_val are not used")
    for name in ("valid", "validation", "val", "dev"):
        renamed = {key.replace("val", name): a for key, a in arrays.items() if "test" not in key}
        np.savez(path, **renamed)
        data = open_dataset(f"npz:{path}")
        np.testing.assert_array_equal(data.test.x, TABLE[val])
        assert data.notes[0].endswith(f"there is no test split, so x_{name} and y_{name} are tested on")


def test_names_that_mean_the_same(path):
    np.savez(path, x=TABLE, X=TABLE, y=LABELS)
    with pytest.raises(UserError, match="holds X and x, and which of them is meant is not clear: rename one"):
        open_dataset(f"npz:{path}")
    np.savez(path, data=TABLE, images=IMAGES, target=LABELS, target_names=np.array(["a"]))
    data = open_dataset(f"npz:{path}")
    assert data.input_shape == (5,)
    assert data.notes[0].endswith("images, target_names are not used")


@pytest.mark.parametrize("names", ["x_train x_test y_test", "x", "y", "x_val y_val", "xtrainer ytrainer"])
def test_names_without_a_pair_to_train_on(path, names):
    np.savez(path, **dict.fromkeys(names.split(), LABELS))
    listed = ", ".join(sorted(names.split()))
    with pytest.raises(UserError, match=f"holds {listed}, expected arrays named x and y, or x_train"):
        open_dataset(f"npz:{path}")


@pytest.mark.parametrize(
    ("shape", "height"),
    [
        ((20, 1, 8, 8), 1),
        ((20, 3, 32, 32), 3),
        ((20, 3, 32, 24), 3),
        ((20, 4, 9, 7), 4),
        ((20, 1, 28, 128), 1),
        ((20, 2, 9, 9), 2),
        ((20, 13, 64, 64), 13),
    ],
)
def test_channels_first_is_refused_with_the_transpose(path, shape, height):
    x = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    np.savez(path, x=x, y=LABELS)
    hint = (
        rf"looks like channels first: .* x.transpose\(0, 2, 3, 1\) \(or x.swapaxes\(1, 2\) if the height .* {height}\)"
    )
    for opened in (open_dataset, open_features):
        with pytest.raises(UserError, match=hint):
            opened(f"npz:{path}")
    np.savez(path, x=x.transpose(0, 2, 3, 1), y=LABELS)
    assert open_dataset(f"npz:{path}").input_shape == (*shape[2:], shape[1])
    np.savez(path, x=x.swapaxes(1, 2), y=LABELS)
    assert open_dataset(f"npz:{path}").input_shape == (shape[2], shape[1], shape[3])


@pytest.mark.parametrize(
    "shape",
    [(3, 3, 3), (1, 1, 1), (4, 4, 4), (28, 28, 1), (3, 32, 3), (32, 3, 3), (1, 100, 1), (7, 7, 512), (16, 8, 8)],
)
def test_channels_last_is_left(path, shape):
    np.savez(path, x=np.zeros((20, *shape), np.uint8), y=LABELS)
    assert open_dataset(f"npz:{path}").input_shape == shape


def test_features(path):
    np.savez(path, x=TABLE)
    features = open_features(f"npz:{path}")
    np.testing.assert_array_equal(features.x, TABLE)
    assert features.split.y.shape == (20, 0)
    np.savez(path, z=TABLE)
    with pytest.raises(UserError, match="holds z, expected an array named x"):
        open_features(f"npz:{path}")
