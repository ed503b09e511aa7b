import dataclasses

import numpy as np
import pytest

from mpitrain.data import Dataset, Split, open_dataset
from mpitrain.data.matching.conform import conform, in_order_of, number_classes
from mpitrain.data.matching.signature import Extremes, Signature
from mpitrain.errors import UserError

X = np.arange(30, dtype=np.float32).reshape(10, 3)
Y = np.arange(10) % 2


def dataset(columns=("a", "b", "c"), classes=("n", "p"), x=X, y=Y, target="y"):
    return Dataset("t", "classification", Split(x[:6], y[:6]), Split(x[6:], y[6:]), 2, classes, columns, target)


def test_columns_and_classes_in_the_order_of_the_model():
    signature = Signature.of(dataset())
    other = dataset(("c", "extra", "a", "b"), ("p", "n"), np.insert(X[:, [2, 0, 1]], 1, -1, axis=1), 1 - Y)
    found = conform(other, signature, "here")
    for part in ("train", "test"):
        np.testing.assert_array_equal(getattr(found, part).x, getattr(dataset(), part).x)
        np.testing.assert_array_equal(getattr(found, part).y, getattr(dataset(), part).y)
    assert (found.feature_names, found.class_names, found.num_outputs) == (("a", "b", "c"), ("n", "p"), 2)
    assert found.notes == ("here: column 'extra' is not among the model's, and ignored",)
    assert found.train.x.flags.c_contiguous


def test_a_validation_split_is_put_in_order_as_well():
    signature = Signature.of(dataset())
    other = dataset(("c", "a", "b"), ("p", "n"), X[:, [2, 0, 1]], 1 - Y)
    other = dataclasses.replace(other, validation=Split(other.test.x, other.test.y))
    found = conform(other, signature, "here").validation
    np.testing.assert_array_equal(found.x, X[6:])
    np.testing.assert_array_equal(found.y, Y[6:])


def test_what_does_not_fit():
    signature = Signature.of(dataset())
    with pytest.raises(
        UserError, match=r"here lacks column 'b', which the model was trained on \(did you mean 'B'\?\)"
    ):
        conform(dataset(("a", "B", "c")), signature, "here")
    with pytest.raises(UserError, match=r"has a class that the model does not know: 'q' \(row 1\); it knows 'n', 'p'"):
        conform(dataset(classes=("n", "q")), signature, "here")
    with pytest.raises(UserError, match="the model predicts 'y', but the target of here is 'z'"):
        conform(dataset(target="z"), signature, "here")
    with pytest.raises(UserError, match=r"have the shape \(8, 8, 1\), but the model was trained on \(3,\)"):
        conform(open_dataset("digits"), dataclasses.replace(signature, class_names=tuple("0123456789")), "digits")
    regression = dataclasses.replace(dataset(), task="regression")
    with pytest.raises(UserError, match="is for regression, but the model was trained for classification"):
        conform(regression, signature, "here")
    other = dataset(("a", "B", "c"))
    assert in_order_of(signature, other, "here") is other


def test_columns_without_names_go_by_place_and_are_noted():
    named, unnamed = dataset(), dataset(())
    found = conform(unnamed, Signature.of(named), "here")
    assert found.notes == ("here has no column names: its columns are taken in order as 'a', 'b', 'c'",)
    found = conform(named, Signature.of(unnamed), "here")
    assert found.notes == ("the model was trained on columns without names: those of here are taken in order",)


def numbered(labels, *arguments):
    names, codes = np.unique(labels, return_inverse=True)
    return number_classes(names.tolist(), codes, *arguments).tolist()


def test_class_numbers():
    signature = dataclasses.replace(Signature.of(dataset()), class_names=("10", "7", "007", "-3", "x, y"))
    labels = ["7", "007", "10", "x, y", "7.0", "-3.00", "10"]
    assert numbered(labels, signature, "f") == [1, 2, 0, 4, 1, 3, 0]
    with pytest.raises(UserError) as error:
        numbered(["7", "0x7", "7.5", "0x7", "1e1"], signature, "f", lambda row: f"line {row + 2}")
    assert str(error.value).startswith(
        "f has classes that the model does not know: '0x7' (line 3), '7.5' (line 4), '1e1' (line 6)"
    )
    many = [f"u{k}" for k in range(9)]
    assert number_classes(["7", *many], np.array([0, 0]), signature, "f").tolist() == [1, 1]  # names that nobody has
    with pytest.raises(UserError, match=r"'u4' \(row 4\) and 4 more"):
        numbered(many, signature, "f")


def test_a_signature_there_and_back():
    for data in (dataset(), open_dataset("digits")):
        whole = Signature.of(
            data, source="s", absolute_source="/s", extremes=Extremes.of(data.train.x), contents={"a": "b"}
        )
        facts = whole.facts()
        assert Signature.from_facts(facts).facts() == facts
    del facts["data"]  # as an older version has written it
    old = Signature.from_facts(facts)
    assert (old.input_shape, old.class_names, old.extremes, old.contents) == ((8, 8, 1), data.class_names, None, {})
    assert old.complaint("uint8", Extremes.of(data.train.x), 100) == ""


def test_extremes_by_column_and_by_channel():
    found = Extremes.of(X, slice(2, 5))
    assert (found.least.tolist(), found.most.tolist()) == ([6, 7, 8], [12, 13, 14])
    images = np.random.default_rng(1).integers(0, 256, (5000, 2, 2, 3), dtype=np.uint8)
    found = Extremes.of(images)
    np.testing.assert_array_equal(found.most, images.reshape(-1, 3).max(axis=0))
    np.testing.assert_array_equal(found.least, images.reshape(-1, 3).min(axis=0))
    assert np.isinf(Extremes.of(X, slice(3, 3)).least).all()


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (
            np.float32([[0.1, 0.9]]).repeat(50, 0),
            "samples have float32 values from 0.1 to 0.9, but .* uint8 from 0 to 255",
        ),
        (np.float32([[0.0, 255]]).repeat(50, 0), "samples are float32, but the model was trained on uint8"),
        (np.uint8([[3, 200]]).repeat(50, 0), ""),
        (np.uint8([[0, 0]]).repeat(50, 0), ""),
    ],
)
def test_another_scale_of_images(x, said):
    train = np.linspace(0, 255, 100).astype(np.uint8).reshape(5, 4, 5, 1)
    signature = Signature("classification", (4, 5, 1), 2, dtype="uint8", extremes=Extremes.of(train))
    check(signature, x.reshape(5, 4, 5, 1), said)


def check(signature, x, said):
    import re

    found = signature.complaint(x.dtype.name, Extremes.of(x), len(x))
    assert re.match(said, found) if said else found == ""


def test_another_scale_of_a_column():
    train = np.float32(np.random.default_rng(5).uniform(1, 2, (100, 3))) * np.float32([1, 1000, 1e-3])
    signature = dataclasses.replace(Signature.of(dataset()), dtype="float32", extremes=Extremes.of(train))
    check(signature, train, "")
    check(signature, train * np.float32([2, 3, 0.5]), "")
    check(signature, train * np.float32([1, 1, 1000]), "column 'c' has float32 values from 1.0")
    check(signature, train * np.float32([1, 0.001, 1]), "column 'b' has float32 values from 1.0")
    check(signature, train[:3] * np.float32([1, 0.001, 1]), "")  # three small values are no scale
    check(signature, train[:3] * np.float32([100, 1, 1]), "column 'a' has")
