"""A cache of decoded images, and images, for each test."""

import pytest

from tests.unit.images_source.pets import settle, write


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MPITRAIN_IMAGES", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "cache"
    settle()


@pytest.fixture
def pets(tmp_path):
    """Six images of each class; the first channel tells the class, the second the number."""
    for code, name in enumerate(["cat", "dog", "Äpfel & Co"]):
        for number in range(6):
            write(tmp_path / "pets" / name / f"{number}.png", (100 * code, number, 0))
    return tmp_path / "pets"
