"""Cuts against all cuts there are."""

import itertools

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from mpitrain.errors import UserError
from mpitrain.parallel.pipeline.cut import cut_stages, make_cut
from mpitrain.parallel.pipeline.demand import StageDemand
from mpitrain.parallel.pipeline.partition import Partition
from mpitrain.parallel.pipeline.tables import RECOMPUTED, Tables
from mpitrain.parallel.pipeline.unit_cost import UnitCost


def draw_costs(rng, number, in_floats):
    """Return costs in integers, of which sums are exact and ties are many, or in floats."""

    def seconds():
        return float(rng.exponential()) if in_floats else float(rng.integers(0, 5))

    def one(name, apart=None):
        return UnitCost(
            name,
            forward=seconds(),
            dx=seconds(),
            dw=seconds(),
            output_bytes=int(rng.integers(0, 20)),
            kept_bytes=int(rng.integers(0, 100)),
            backward_bytes=int(rng.integers(0, 50)),
            num_parameters=int(rng.integers(0, 9)),
            is_block=apart is None and bool(rng.integers(0, 2)),
            apart=apart,
        )

    return [one(str(i), one("apart") if rng.random() < 0.3 else None) for i in range(number)]


def draw_demands(rng, num_stages, num_ranks):
    return [
        StageDemand(stage % num_ranks, int(rng.integers(1, 5)), int(rng.integers(0, 3)), float(rng.integers(0, 5)) / 4)
        for stage in range(num_stages)
    ]


def goal(cut):
    return max(cut.seconds), sum(x * x for x in cut.seconds)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 10), st.data(), st.sampled_from(RECOMPUTED), st.booleans(), st.booleans())
def test_no_cut_is_better(seed, number, data, recompute, in_floats, is_bounded):
    rng = np.random.default_rng(seed)
    num_stages = data.draw(st.integers(1, min(5, number)))
    costs, demands = draw_costs(rng, number, in_floats), draw_demands(rng, num_stages, num_stages)
    options = {"slots": float(rng.integers(0, 3)), "recompute": recompute}
    every = [
        make_cut(costs, demands, starts, **options)
        for starts in itertools.combinations(range(1, number), num_stages - 1)
    ]
    needed = sorted({max(cut.rank_bytes) for cut in every})
    memory = needed[int(rng.integers(0, len(needed)))] if is_bounded else None
    fitting = [cut for cut in every if memory is None or max(cut.rank_bytes) <= memory]
    found = cut_stages(costs, demands, memory, **options)
    best = min(map(goal, fitting))
    note(f"{costs} {demands} {memory}")
    assert any(found == cut for cut in fitting)
    assert goal(found) == pytest.approx(best, rel=1e-12)
    if is_bounded and needed[0]:
        with pytest.raises(UserError, match="the leanest needs"):
            cut_stages(costs, demands, needed[0] - 1, **options)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 9), st.sampled_from(RECOMPUTED))
def test_several_stages_on_a_rank(seed, number, recompute):
    """The best cut; the search for many units finds one that fits, or none."""
    rng = np.random.default_rng(seed)
    costs, demands = draw_costs(rng, number, False), draw_demands(rng, 4, 2)
    every = [
        make_cut(costs, demands, starts, recompute=recompute) for starts in itertools.combinations(range(1, number), 3)
    ]
    found = cut_stages(costs, demands, recompute=recompute)
    assert goal(found) == pytest.approx(min(map(goal, every)), rel=1e-12)
    least = min(max(cut.rank_bytes) for cut in every)
    with pytest.raises(UserError, match="the leanest needs"):
        cut_stages(costs, demands, least - 1, recompute=recompute)
    memory = int(rng.integers(least, max(max(cut.rank_bytes) for cut in every) + 1))
    fitting = [cut for cut in every if max(cut.rank_bytes) <= memory]
    found = cut_stages(costs, demands, memory, recompute=recompute)
    assert max(found.rank_bytes) <= memory
    assert goal(found) == pytest.approx(min(map(goal, fitting)), rel=1e-12)
    searched = Partition(Tables(costs, recompute=recompute), demands, memory)._search(0.0)
    if searched is not None:
        searched = make_cut(costs, demands, searched[1:], recompute=recompute)
        assert max(searched.rank_bytes) <= memory
        assert max(searched.seconds) >= max(found.seconds) * (1 - 1e-12)
