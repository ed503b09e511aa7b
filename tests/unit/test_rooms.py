"""Rooms of plans for rows: never too small, few of them, not much too large."""

import numpy as np
import pytest

from mpitrain.parallel.moves.rooms import KEPT_ROOMS, LEAST, MOST_WASTE, Rooms


@pytest.mark.parametrize("seed", range(3))
def test_every_table_fits(seed):
    rng, rooms = np.random.default_rng(seed), Rooms(0.25)
    for _ in range(200):
        table = rng.integers(0, rng.choice([1, 20, 500]), (3, 3))
        room = rooms.find(table)
        assert (table <= room).all(), f"seed {seed}"
        assert room.sum() <= MOST_WASTE * table.sum() + 2 * LEAST * table.size


def test_counts_that_differ_a_little_have_one_room():
    rng, rooms = np.random.default_rng(0), Rooms(0.25)
    found = {rooms.find(rng.multinomial(1000, [1 / 4] * 4, 4)).tobytes() for _ in range(100)}
    assert len(found) <= 3


def test_two_kinds_of_batches_have_a_room_each():
    rooms = Rooms(0.25)
    large, small = np.full((2, 2), 400), np.full((2, 2), 3)
    first = rooms.find(large), rooms.find(small)
    assert rooms.find(large) is first[0]
    assert rooms.find(small) is first[1]
    assert rooms.find(0 * small) is first[1]


def test_without_slack():
    table = np.array([[3, 0], [1, 2]])
    assert Rooms().find(table) is table


def test_the_room_used_longest_ago_is_dropped():
    dropped = []
    rooms = Rooms(0.25, dropped.append)
    first = rooms.find(np.array([[1]]))
    for power in range(5, 5 + KEPT_ROOMS - 1):
        rooms.find(np.array([[4**power]]))
    assert rooms.find(np.array([[2]])) is first
    assert not dropped
    rooms.find(np.array([[4**25]]))
    assert [room.item() for room in dropped] == [(4**5 * 5 // 4 // LEAST + 1) * LEAST]
