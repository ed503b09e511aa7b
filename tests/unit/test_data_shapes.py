"""The generated set of circles and rectangles."""

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.data.matching.fingerprint import contents
from mpitrain.data.shapes import ShapesOptions, draw_shapes, parse_shapes
from mpitrain.data.sources import absolute_source, find_source
from mpitrain.errors import UserError


def test_options():
    assert parse_shapes("") == ShapesOptions()
    given = "samples=10,size=24x32,channels=3,objects=2,noise=0,seed=5"
    assert parse_shapes(given) == ShapesOptions(10, (24, 32), 3, 2, 0.0, 5)
    data = open_dataset(f"shapes:{given}")
    assert (data.train.x.shape, data.train.x.dtype) == ((8, 24, 32, 3), np.uint8)
    assert (data.test.y.shape, data.class_names) == ((2, 24, 32), ("background", "circle", "rectangle"))
    assert absolute_source(f"shapes:{given}") == find_source(f"shapes:{given}", "shapes") == f"shapes:{given}"


def test_the_same_images_everywhere_and_others_by_seed():
    """The hash was written down once: other machines and versions of NumPy must give the same."""
    texts = [contents(open_dataset(f"shapes:samples=5,size=16,seed={seed}")) for seed in (0, 0, 1)]
    assert texts[0] == texts[1]
    assert texts[0]["training samples"] != texts[2]["training samples"]
    assert texts[0]["training targets"] == "(4, 16, 16) int8 092b956759425695d519c45faea5db34"


def test_without_noise_an_object_is_of_one_color():
    x, y = draw_shapes(ShapesOptions(40, (32, 32), objects=1, noise=0.0))
    for image, classes in zip(x, y, strict=True):
        for k in np.unique(classes):
            assert len(np.unique(image[classes == k])) == 1
    assert {0, 1, 2} == set(np.unique(y))
    circles, rectangles = ((y == k).sum() for k in (1, 2))
    assert 0.5 < circles / rectangles < 2


def test_noise_has_its_deviation():
    (x, _), (plain, _) = (draw_shapes(ShapesOptions(8, (64, 64), noise=noise)) for noise in (0.1, 0.0))
    inside = (plain > 80) & (plain < 175)  # far from black and white
    error = (x.astype(float) - plain)[inside] / 255
    assert error.std() == pytest.approx(0.1, rel=0.02)
    assert abs(error.mean()) < 0.002


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("shapes:sizes=4", r"shapes has no option 'sizes' \(did you mean 'size'\?\), only samples, size"),
        ("shapes:size=4", "size must be at least 8, or HEIGHTxWIDTH"),
        ("shapes:size=16x16x16", "size must be at least 8, or HEIGHTxWIDTH"),
        ("shapes:samples=many", "samples is 'many', but must be a whole number"),
        ("shapes:samples=1", "samples must be at least 2"),
        ("shapes:channels=2", "channels must be 1 or 3"),
        ("shapes:noise=nan", "noise must be from 0 to 1"),
        ("shapes:objects=0", "objects must be at least 1"),
    ],
)
def test_mistakes_are_explained(source, message):
    with pytest.raises(UserError, match=message):
        open_dataset(source)


@pytest.mark.parametrize("task", ["classification", "regression", "language-modeling"])
def test_other_tasks(task):
    with pytest.raises(UserError, match=f"its task is segmentation, not {task}|is no text"):
        open_dataset("shapes", task=task)
