"""The search for the best mesh, at 4,096 ranks too, and what would change the choice."""

import dataclasses
import time

from mpitrain.planning import PRECISIONS, Estimator, Wish, find_machine, search
from mpitrain.planning.changes import find_changes
from mpitrain.planning.estimate import Work
from mpitrain.planning.say import WIDTH, say_page, to_tree
from mpitrain.planning.search import _variants, divisors, meshes_of, strategies
from tests.plans import MACHINE, NETWORK, NODE, estimators, gpt, gpt3


def test_4096_ranks_take_seconds():
    begin = time.process_time()
    quick, exact = estimators(gpt3(), find_machine("dgx-h100"), 1536, "mixed")
    found = search(quick, exact, 4096)
    changes = find_changes(quick, exact, found)
    assert time.process_time() - begin < 10
    best = found.best[0]
    assert best.strategy.ranks == 4096
    assert best.memory.all <= quick.machine.memory
    assert [one.seconds for one in found.best] == sorted(one.seconds for one in found.best) or found.best
    peak = 1536 * exact.model.flops / best.seconds / 4096 / 989e12
    assert 0.25 < peak < 0.65  # of the peak: the range that such clusters report
    lines = say_page(exact, found, changes, 1.0)
    assert all(len(line) <= WIDTH for line in lines)
    assert lines[0].startswith("gpt3: 175 G parameters, on 4,096 ranks of DGX H100")
    assert to_tree(exact, found, changes)["best"][0]["mesh"] == best.strategy.mesh_text


def test_search_finds_the_best_of_all():
    """Every strategy of a small case, followed exactly, is no faster than the one that is found by more than 2%."""
    quick, exact = estimators(gpt("tiny", 128), MACHINE, 16)
    found = search(quick, exact, 8, Wish(agains=("off",)))
    wish = Wish(agains=("off",))
    every = [
        exact.estimate(dataclasses.replace(one, shard=shard, again=again))
        for one in strategies(quick, 8, wish)
        for shard, again in _variants(one, wish)
    ]
    least = min(one.seconds for one in every if one.memory.all <= MACHINE.memory)
    assert found.best[0].seconds <= 1.02 * least


def test_axes_are_bounded_by_the_model():
    quick, _ = estimators(gpt("gpt2"), MACHINE, 4096)
    meshes = list(meshes_of(quick, 4096, Wish()))
    assert {mesh.tensor for mesh in meshes} == {1, 2, 4}  # 12 heads
    assert max(mesh.pipe for mesh in meshes) == 8  # 15 units
    assert {mesh.space for mesh in meshes} == {mesh.expert for mesh in meshes} == {1}
    assert all(mesh.ranks == 4096 for mesh in meshes)
    assert divisors(36) == [1, 2, 3, 4, 6, 9, 12, 18, 36]


def test_a_fixed_axis_stays():
    quick, exact = estimators(gpt("gpt2"), MACHINE, 64)
    found = search(quick, exact, 16, Wish(mesh={"tensor": 4}))
    assert {one.strategy.tensor for one in found.best} == {4}


def test_a_mesh_that_fits_nothing_says_the_nearest():
    small = dataclasses.replace(MACHINE, memory=1e9)
    quick, exact = estimators(gpt3(), small, 64)
    found = search(quick, exact, 16)
    assert not found.best
    assert found.leanest.memory.all > small.memory
    lines = say_page(exact, found, find_changes(quick, exact, found), 1.0)
    assert any("nothing fits into the 1 GB of a rank; the nearest needs" in line for line in lines)


def test_a_faster_mesh_that_does_not_fit_is_named():
    big = gpt("gpt2", 1024)
    quick, exact = estimators(big, MACHINE, 64)
    whole = search(quick, exact, 8)
    tight = dataclasses.replace(MACHINE, memory=whole.best[0].memory.all * 0.2)
    quick, exact = estimators(big, tight, 64)
    found = search(quick, exact, 8)
    assert found.best[0].seconds >= whole.best[0].seconds
    assert found.faster is not None
    assert found.faster.seconds < found.best[0].seconds
    text = "\n".join(say_page(exact, found, find_changes(quick, exact, found), 1.0))
    assert "faster, but does not fit:" in text


def test_slow_links_change_the_choice():
    slow = dataclasses.replace(NETWORK, bandwidth=1e9, alone=1e9)
    quick, exact = estimators(gpt("gpt2"), dataclasses.replace(MACHINE, levels=(NODE, slow)), 64)
    found = search(quick, exact, 64)
    changes = [change for change in find_changes(quick, exact, found) if change.fact == "bandwidth"]
    assert changes
    for change in changes:
        factor = change.value / slow.bandwidth
        there = quick.machine.scaled(bandwidth=factor * (1.1 if factor > 1 else 0.9))
        work = Work(64, PRECISIONS["fp32"])
        other = search(Estimator(quick.model, there, work), Estimator(quick.model, there, work, exact=True), 64)
        assert other.best[0].strategy.mesh != found.best[0].strategy.mesh
