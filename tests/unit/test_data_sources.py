import numpy as np
import pytest

from mpitrain.data import open_dataset, open_features
from mpitrain.errors import UserError


def test_digits():
    data = open_dataset("digits")
    assert (data.name, data.task, data.num_outputs, data.class_names) == (
        "digits",
        "classification",
        10,
        tuple("0123456789"),
    )
    assert (data.train.x.shape, data.test.x.shape) == ((1437, 8, 8, 1), (360, 8, 8, 1))
    assert (data.train.x.dtype, data.train.y.dtype) == (np.uint8, np.int64)
    assert (data.train.x.min(), data.train.x.max()) == (0, 16)
    assert np.ptp(np.bincount(data.test.y)) <= 2


def test_digits_are_those_of_scikit_learn():
    source = pytest.importorskip("sklearn.datasets").load_digits()
    data = open_dataset("digits")

    def rows(x, y):
        return sorted((*image.ravel().astype(int), int(label)) for image, label in zip(x, y))

    both = rows(data.train.x, data.train.y) + rows(data.test.x, data.test.y)
    assert sorted(both) == rows(source.images, source.target)


def test_features_of_a_set_with_a_test_split():
    features = open_features("digits")
    np.testing.assert_array_equal(features.x, open_dataset("digits").test.x)
    assert features.input_shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digit", r"no source 'digit' \(did you mean 'digits'\?\), only digits, mnist:DIR"),
        ("", "no source ''"),
        ("digits:8", "digits comes with mpitrain and takes no '8'"),
        ("mnist", "mnist: say which directory, as in mnist:DIR"),
        ("cifar10:{tmp}/none", "there is no directory .*none"),
        ("mnist:{tmp}/file", "file is a file, expected the directory"),
        ("npz", "npz: say which file"),
        ("npz:{tmp}/none.npz", "there is no file .*none.npz"),
        ("csv:{tmp},target=a", "is a directory, expected a file"),
        ("npz:{tmp}/file", "is damaged or not an .npz archive"),
    ],
)
def test_wrong_sources(tmp_path, source, message):
    (tmp_path / "file").write_text("hello")
    for opened in (open_dataset, open_features):
        with pytest.raises(UserError, match=message):
            opened(source.format(tmp=tmp_path))


def test_wrong_options():
    with pytest.raises(UserError, match="not 'clustering'"):
        open_dataset("digits", task="clustering")
    with pytest.raises(UserError, match="no targets for regression"):
        open_dataset("digits", task="regression")
    for fraction in (0, 1, -0.5, float("nan")):
        with pytest.raises(UserError, match="between 0 and 1"):
            open_dataset("digits", test_fraction=fraction)
