"""Tables of labels beside image files."""

import numpy as np
import pytest

from mpitrain.data import open_dataset
from mpitrain.errors import UserError
from tests.unit.images_source.pets import told, write


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
