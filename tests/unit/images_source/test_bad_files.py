"""Image files that cannot be decoded are named, or left out."""

import pytest

from mpitrain.data import open_dataset
from mpitrain.data.images import describe_images
from mpitrain.errors import UserError
from tests.unit.images_source.pets import settle, told


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
