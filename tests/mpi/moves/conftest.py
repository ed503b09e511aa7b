"""A group of all ranks whose moves are freed after each test."""

import pytest

from mpitrain.parallel.moves.exchange import pool_of


@pytest.fixture
def group(world):
    group = world.group("data")
    yield group
    pool_of(group).free()  # the next test may have other devices
