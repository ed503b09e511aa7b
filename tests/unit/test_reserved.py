"""Reserved memory: pages come with the first write and go back to the system."""

import sys

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.device.reserved import HUGE, LEAST_HUGE, ReservedMemory
from mpitrain.layers import Linear, Sequential

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/pagemap")
PAGE = 4096


@linux
def test_pages_come_and_go():
    memory = ReservedMemory(100 * PAGE // 4, np.float32)
    assert memory.array.dtype == np.float32
    assert memory.array.ctypes.data % PAGE == 0
    assert memory.resident_bytes == 0
    memory.array[...] = 7
    assert memory.resident_bytes == 100 * PAGE
    memory.give_back(slice(1, 10 * PAGE))  # from within the first page to the end of the 40th
    assert memory.resident_bytes == 61 * PAGE
    assert (memory.array[:1024] == 7).all()
    assert (memory.array[1024 : 10 * PAGE] == 0).all()
    assert (memory.array[10 * PAGE :] == 7).all()


@pytest.mark.parametrize("part", [slice(5, 5), slice(1, 1000), slice(1000, 1030), slice(0, 0)])
def test_parts_without_a_whole_page(part):
    memory = ReservedMemory(4 * PAGE, np.float32)
    memory.array[...] = 1
    memory.give_back(part)
    assert memory.array.all()


def test_large_parts_come_in_large_pages():
    assert ReservedMemory(LEAST_HUGE // 4, np.float32).granule == HUGE
    assert ReservedMemory(LEAST_HUGE // 4, np.float32, parts=2).granule == PAGE
    memory = ReservedMemory(LEAST_HUGE // 8, np.float64)
    assert memory.array.ctypes.data % HUGE == 0
    memory.array[...] = 1
    memory.give_back(slice(1, HUGE // 4))
    assert memory.array[: HUGE // 8].all()
    assert not memory.array[HUGE // 8 : HUGE // 4].any()


def test_nothing_at_all():
    assert ReservedMemory(0, np.float32).array.size == 0


@linux
def test_an_arena_keeps_its_part_of_the_first_values():
    """One parameter is drawn at a time, and the values are those of a whole arena."""

    def model():
        return Sequential(*(Linear(64, 64) for _ in range(8)))

    whole = Arena(model(), seed=5)
    own = slice(whole.size // 4, whole.size // 2)
    arena = Arena(model(), seed=5, divide=lambda arena: [own])
    np.testing.assert_array_equal(arena.values[own], whole.values[own])
    assert arena.memory.resident_bytes <= whole.values.nbytes // 4 + 2 * PAGE
    arena.put("3.weight", np.ones((64, 64), np.float32))
    arena.give_back_others()
    assert arena.memory.resident_bytes <= whole.values.nbytes // 4 + 2 * PAGE
