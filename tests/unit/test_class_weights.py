"""Class weights from text: balanced or by name, with a mean of 1 over the training samples."""

import numpy as np
import pytest

from mpitrain.data import Dataset, Split
from mpitrain.errors import UserError
from mpitrain.training.class_weights import class_weights_of

Y = np.array([0] * 6 + [1] * 3 + [2])


def dataset(y=Y, names=("cat", "dog", "a:b")):
    x = np.zeros((len(y), 1))
    return Dataset("pets", "classification", Split(x, y), Split(x, y), len(names), names)


def test_balanced_weights_are_the_inverse_of_the_counts():
    weights = np.array(class_weights_of("balanced", dataset()))
    np.testing.assert_allclose(weights * [6, 3, 1], 10 / 3)
    assert weights[Y].mean() == pytest.approx(1)
    assert class_weights_of("balanced", dataset(Y[:9]))[2] == 1  # a class without training samples


@pytest.mark.parametrize(
    ("text", "raw"), [("dog:2", (1, 2, 1)), ("cat:0, a:b:1e1", (0, 1, 10)), ("cat:3,dog:3,a:b:3", (1, 1, 1))]
)
def test_weights_by_name_keep_their_ratios(text, raw):
    weights = np.array(class_weights_of(text, dataset()))
    assert weights[Y].mean() == pytest.approx(1)
    np.testing.assert_allclose(weights / weights.max(), np.array(raw) / max(raw))


def test_no_text_no_weights():
    assert class_weights_of("", dataset()) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dgo:2", "pets has no class 'dgo'; did you mean 'dog'\\?"),
        ("x:2", "there are cat, dog, a:b"),
        ("dog", "'balanced' or CLASS:WEIGHT,CLASS:WEIGHT, not 'dog'"),
        ("dog:2,dog:3", "'dog' is given twice"),
        ("dog:-1", "the weight of 'dog' is '-1', but must be a number, 0 or more"),
        ("dog:inf", "'inf'"),
        ("dog:nan", "'nan'"),
        ("dog:", "''"),
        ("cat:0,dog:0,a:b:0", "the training samples weigh nothing"),
    ],
)
def test_mistakes_are_explained(text, message):
    with pytest.raises(UserError, match=message):
        class_weights_of(text, dataset())


def test_numbers_have_no_classes():
    x = np.zeros((3, 1))
    numbers = Dataset("set", "regression", Split(x, x), Split(x, x), 1)
    with pytest.raises(UserError, match="--class-weights is for classification"):
        class_weights_of("balanced", numbers)
