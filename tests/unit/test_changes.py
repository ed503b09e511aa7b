import dataclasses

import numpy as np
import pytest

from mpitrain.data.matching.signature import Signature
from mpitrain.data.normalize import Normalizer
from mpitrain.training.directory.changes import changes, normalizer_changes

TABLE = Signature("classification", (2,), 3, ("n", "o", "p"), ("a", "b"), "y", dtype="float32", contents={"x": "1"})
IMAGES = Signature("classification", (8, 8, 1), 2, ("n", "p"))
VALUES = Signature("regression", (3,), 2)


@pytest.mark.parametrize(
    ("then", "changed", "first"),
    [
        (TABLE, {}, None),
        (TABLE, {"task": "regression"}, "the task was classification and is now regression"),
        (TABLE, {"target_name": "z"}, "the target was 'y' and is now 'z'"),
        (TABLE, {"class_names": ("n", "A-pos", "p")}, "class 1 was 'o' and is now 'A-pos'"),
        (TABLE, {"class_names": ("p", "o", "n")}, "class 0 was 'n' and is now 'p'"),
        (TABLE, {"class_names": ("n", "p")}, "there were 3 classes and are now 2 ('o' is gone)"),
        (TABLE, {"class_names": ("n", "o", "p", "q")}, "there were 3 classes and are now 4 ('q' is new)"),
        (TABLE, {"feature_names": ("a", "c")}, "column 1 was 'b' and is now 'c'"),
        (TABLE, {"feature_names": ("a", "b", "c")}, "there were 2 columns and are now 3 ('c' is new)"),
        (TABLE, {"dtype": "float64"}, "samples were float32 and are now float64"),
        (TABLE, {"contents": {"x": "2"}}, "the contents of the x differ"),
        (dataclasses.replace(TABLE, dtype="", contents={}), {"contents": {"x": "2"}, "dtype": "float64"}, None),
        (IMAGES, {"input_shape": (28, 28, 1)}, "samples had the shape (8, 8, 1) and now have (28, 28, 1)"),
        (VALUES, {"num_outputs": 3}, "there were 2 targets for each sample and are now 3"),
    ],
)
def test_the_first_change(then, changed, first):
    assert next(changes(then, dataclasses.replace(then, **changed)), None) == first


def test_statistics_of_all_rows_tell_of_one_value():
    rng = np.random.default_rng(3)
    x = (rng.standard_normal((100_000, 2)) * [1, 5] + [1.7e9, 3]).astype(np.float64)
    then = Normalizer.fit(x)

    def found(x, exact=True, names=("t", "v")):
        return list(normalizer_changes(then, Normalizer.fit(x), names, "samples", exact=exact))

    assert found(x) == []
    assert found(x[rng.permutation(len(x))]) == []  # rounding of another order
    other = x.copy()
    other[777, 1] += 0.1
    (said,) = found(other)
    assert said.startswith("the mean of column 'v' was 2.9862")
    assert found(other, exact=False) == []
    assert found(other, names=())[0].startswith("the mean of the training samples was ")
    other[:, 1] = 3 + 2 * (x[:, 1] - 3)
    (said,) = found(other, exact=False)
    assert said.startswith(("the mean of column 'v' was", "the deviation of column 'v' was "))
    assert list(normalizer_changes(None, then, (), "targets", exact=True)) == []
