import sys
import types
from urllib.error import URLError

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.errors import UserError


@pytest.fixture
def serve(monkeypatch):
    """Put a fake scikit-learn in place whose fetch_openml gives, or raises, what the test says."""

    def install(answer):
        def fetch_openml(name, *, as_frame, parser):
            assert as_frame is False
            if isinstance(answer, Exception):
                raise answer
            return {"feature_names": [f"x{k}" for k in range(answer["data"].shape[1])], **answer}

        datasets = types.ModuleType("sklearn.datasets")
        datasets.fetch_openml = fetch_openml
        monkeypatch.setitem(sys.modules, "sklearn", types.ModuleType("sklearn"))
        monkeypatch.setitem(sys.modules, "sklearn.datasets", datasets)

    return install


PIXELS = np.random.default_rng(4).integers(0, 256, (10, 3072)).astype(float)
CLASSES = np.array(list("0123401234"), object)


def test_images(serve):
    serve({"data": PIXELS, "target": CLASSES, "target_names": ["class"]})
    data = open_dataset("openml:CIFAR_10")
    assert (data.input_shape, data.train.x.dtype, data.num_outputs) == ((32, 32, 3), np.uint8, 5)
    assert (len(data.train), len(data.test), data.target_name) == (8, 2, "class")
    images = PIXELS.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    for x, y in zip(data.test.x, data.test.y):
        assert any(np.array_equal(x, images[row]) for row in (y, y + 5))
    serve({"data": PIXELS[:, :784], "target": CLASSES, "target_names": ["class"]})
    assert open_dataset("openml:mnist_784").input_shape == (28, 28, 1)


def test_tables(serve):
    serve({"data": PIXELS[:, :3], "target": PIXELS[:, 5], "target_names": ["y"], "categories": {}})
    data = open_dataset("openml:houses")
    assert (data.task, data.feature_names, data.name) == ("regression", ("x0", "x1", "x2"), "houses")


def test_categories_that_are_numbers_or_booleans(serve):
    codes = np.array([[1.0, 0.0, 5.5], [0.0, 1.0, 6.5]] * 5)
    categories = {"x0": ["False", "True"], "x1": ["30", "-4"], "y": ["a", "b"]}
    serve({"data": codes, "target": np.array(["a", "b"] * 5, object), "target_names": ["y"], "categories": categories})
    data = open_dataset("openml:houses")
    np.testing.assert_array_equal(np.unique(data.train.x, axis=0), [[0, -4, 6.5], [1, 30, 5.5]])


TABLE = {"data": PIXELS[:, :3], "target": CLASSES, "target_names": ["class"]}


@pytest.mark.parametrize(
    ("name", "answer", "message"),
    [
        ("a", URLError("Name or service not known"), "openml:a cannot be downloaded: no connection .*not known"),
        ("a", TimeoutError(), "no connection to openml.org .TimeoutError."),
        ("a", ValueError("No known dataset"), "openml:a cannot be read .*No known dataset"),
        ("", TABLE, "say which dataset"),
        ("a", TABLE | {"target": None, "target_names": []}, "does not say which of its columns is the target"),
        ("a", TABLE | {"categories": {"x1": ["p", "q"], "class": ["0"]}}, "columns 'x1' hold categories"),
        ("a", TABLE | {"data": np.full((10, 3), "p", object)}, "no table of numbers"),
        ("a", TABLE | {"data": np.where(PIXELS[:, :3] == PIXELS[2, 1], np.nan, 0)}, "missing values, the first in"),
        ("a", TABLE | {"target": np.array([None] * 10)}, "target 'class' has missing values"),
        ("mnist_784", TABLE, r"expected rows of 784 pixels and found the shape \(10, 3\)"),
        ("CIFAR_10", TABLE | {"data": PIXELS + 0.5}, "expected pixels from 0 to 255"),
        ("CIFAR_10", TABLE | {"data": -1e9 * PIXELS}, "expected pixels from 0 to 255"),
    ],
)
def test_errors(serve, name, answer, message):
    serve(answer)
    with pytest.raises(UserError, match=message):
        open_dataset(f"openml:{name}")


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)  # which another test may have loaded
    with pytest.raises(UserError, match=r"pip install 'mpitrain\[openml\]'"):
        open_dataset("openml:mnist_784")
