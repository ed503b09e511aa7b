"""A small data set for whole runs."""

import pytest

from tests.images import write_images


@pytest.fixture(scope="module")
def data(tmp_path_factory, world):
    """A small data set, so that an epoch has three steps, the last of which is not full."""
    return write_images(world, tmp_path_factory, channels=1)
