from itertools import pairwise

import pytest

from mpitrain import models
from mpitrain.arena import HEADER, Arena
from mpitrain.parallel.buckets import cut_buckets


def make_arena():
    return Arena(models.build("mlp", (6,), 4, widths=(50, 40, 30)).named_parameters())


@pytest.mark.parametrize("num_bytes", [1, 3000, 8000, 1 << 30])
def test_buckets_cover_the_arena_in_order(num_bytes):
    arena = make_arena()
    buckets = cut_buckets(arena, num_bytes)
    assert (buckets[0].start, buckets[-1].stop) == (0, arena.size)
    assert all(a.stop == b.start for a, b in pairwise(buckets))
    assert sum(b.num_parameters for b in buckets) == len(arena.parameters)
    assert all((b.stop - b.start) * 4 >= num_bytes for b in buckets[:-1])


def test_extremes():
    arena = make_arena()
    assert len(cut_buckets(arena, 1)) == len(arena.parameters)
    whole = cut_buckets(arena, 1 << 30, first_bytes=1 << 30)
    assert [(b.start, b.stop) for b in whole] == [(0, arena.size)]
    assert cut_buckets(Arena([]), 1000)[0].stop == HEADER
