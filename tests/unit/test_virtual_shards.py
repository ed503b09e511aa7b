import numpy as np
import pytest

from mpitrain.collectives import find, names, simulate
from mpitrain.collectives.reduction_order import adds_in_a_tree
from mpitrain.parallel.cooperative import CooperativeThreads
from mpitrain.parallel.virtual_shards import TreeSum, tree_sum


def test_which_algorithms_add_in_a_tree():
    trees = {size: {name for name in names() if adds_in_a_tree(find(name), size)} for size in (2, 4, 8, 32)}
    assert trees[32] <= trees[8] <= trees[4] <= trees[2] == set(names())
    assert {"tree", "recursive_doubling", "halving_doubling"} <= trees[32]
    assert not trees[4] & {"ring", "flat", "chain"}


@pytest.mark.parametrize("size", [2, 4, 8, 16])
@pytest.mark.parametrize("name", ["tree", "recursive_doubling", "halving_doubling"])
def test_such_an_algorithm_gives_the_bits_of_the_tree(name, size):
    rng = np.random.default_rng(size)
    inputs = [rng.standard_normal(100).astype(np.float32) * 10.0 ** rng.integers(-3, 3) for _ in range(size)]
    for result in simulate(find(name), inputs):
        np.testing.assert_array_equal(result, tree_sum(inputs))


@pytest.mark.parametrize("count", [1, 2, 8, 32])
def test_a_tree_sum_as_parts_come(count):
    rng = np.random.default_rng(count)
    parts = [rng.standard_normal(20).astype(np.float32) for _ in range(count)]
    tree = TreeSum(parts[0], count)
    for _ in range(2):
        tree.clear()
        ready = []
        for part in parts:
            first, second = part[:5].copy(), part[5:].copy()
            ready += [tree.add(0, slice(0, 5), first), tree.add(1, slice(5, 20), second)]
        assert ready == [False] * (2 * count - 2) + [True, True]
        np.testing.assert_array_equal(np.concatenate([first, second]), tree_sum(parts))


def test_lockstep_takes_turns():
    seen = []
    threads = CooperativeThreads(lambda arrays: sum(arrays))

    def work(number):
        x = np.array([float(number)])
        for turn in range(3):
            seen.append((turn, number))
            threads.sum(x)
            assert x[0] == 6 * 4**turn
        seen.append((3, number))

    turns = []
    threads.run([lambda n=n: work(n) for n in range(4)], lambda: turns.append(len(seen)))
    assert seen == [(turn, number) for turn in range(4) for number in range(4)]
    assert turns == list(range(1, 17))
    assert not threads.running


def test_a_failure_in_lockstep_is_raised():
    threads = CooperativeThreads(lambda arrays: sum(arrays))

    def work(number):
        threads.sum(np.zeros(1))
        if number == 1:
            raise KeyError("for the test")

    with pytest.raises(KeyError):
        threads.run([lambda n=n: work(n) for n in range(3)], lambda: None)
    assert not threads.running
