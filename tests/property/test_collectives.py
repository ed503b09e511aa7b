"""Every algorithm of every collective by provenance and by numbers, for every P from 1 to 17 and odd lengths."""

import dataclasses

import numpy as np
import pytest

from mpitrain.collectives import (
    ALL_REDUCE,
    COLLECTIVES,
    GOALS,
    ScheduleError,
    Step,
    algorithm,
    check,
    find,
    make_algorithm,
    names,
    simulate,
)
from mpitrain.collectives.provenance import Provenance
from mpitrain.errors import UserError

MAX_RANKS = 17
EVERYTHING = [name for collective in COLLECTIVES for name in names(collective)]
WITH_OPTIONS = [
    "pipelined_ring:segments=1",
    "pipelined_ring:segments=3",
    "chain:segments=1",
    "chain:segments=5",
    "k_nomial:radix=2",
    "k_nomial:radix=3",
    "double_tree:segments=1",
    "double_tree:segments=3",
    *(f"two_level:node=3,inner={name},outer=tree" for name in ("ring", "halving", "tree", "chain")),
    *(f"two_level:node=2,outer={name}" for name in names() if name != "two_level"),
    "two_level:node=2,outer=two_level(node=2,outer=pipelined_ring)",
    *(f"{name}/pat:aggregate={a}" for name in ("all_gather", "reduce_scatter") for a in (1, 2, 5)),
    "broadcast/chain:segments=1",
    "reduce/chain:segments=3",
    *(f"halo_exchange/shift:reach={reach}" for reach in (2, 3, 20)),
]


@pytest.mark.parametrize("name", [*EVERYTHING, *WITH_OPTIONS])
def test_provenance_and_promises(name):
    found = find(name)
    assert found.rounds
    assert found.bytes
    assert found.reductions
    assert found.source
    assert found.summary.endswith(".")
    assert f"checked for P <= {MAX_RANKS}" in check(found, MAX_RANKS)


def test_pat_sends_the_least_as_far_as_can_be():
    """Send 1 of 16 chunks 8 ranks away, 2 of them 4, 4 of them 2, and 8 to the neighbor: Bruck's order reversed."""
    found = [(step.send_to, len(step.send)) for step in find("all_gather/pat")(0, 16)]
    assert found == [(8, 1), (4, 2), (2, 4), (1, 8)]
    few = [len(step.send) for step in find("all_gather/pat:aggregate=4")(0, 64)]
    assert few == [1, 2] + [4] * 15


@pytest.mark.parametrize("name", ["tree", "recursive_doubling", "halving_doubling", "swing", "bine", "double_tree"])
def test_provenance_of_many_ranks(name):
    for size in (32, 48, 63, 64):
        Provenance(find(name), size).run()


@pytest.mark.no_cover
@pytest.mark.parametrize("name", [*names(), *(name for name in WITH_OPTIONS if "/" not in name)])
def test_the_sum(name):
    found = find(name)
    for size in range(1, MAX_RANKS + 1):
        rng = np.random.default_rng(100 * size)
        for num_elements in sorted({0, 1, size - 1, size, size + 1, 1000}):
            dtype = DTYPES[(size + num_elements) % len(DTYPES)]
            inputs = [rng.integers(-50, 50, num_elements).astype(dtype) for _ in range(size)]
            expected = np.sum(inputs, axis=0).astype(dtype)
            for rank, out in enumerate(simulate(found, inputs)):
                np.testing.assert_array_equal(out, expected, f"P {size}, rank {rank}, n {num_elements}, {dtype}")


DTYPES = [np.float32, np.float64, np.float16, np.int64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", names())
def test_the_sum_of_a_thousand_in_every_dtype(name, dtype):
    for size in (2, 3, 17):
        inputs = [np.random.default_rng(rank).integers(-50, 50, 1000).astype(dtype) for rank in range(size)]
        for out in simulate(find(name), inputs):
            np.testing.assert_array_equal(out, np.sum(inputs, axis=0).astype(dtype))


def simulate_a_million_and_three(name, size, dtype):
    places = np.arange(1_000_003, dtype=np.int32)
    parts = [(places * (2 * rank + 3) % 101 - 50).astype(np.int16) for rank in range(size)]
    expected = np.sum(parts, axis=0, dtype=np.int16).astype(dtype)
    for out in simulate(find(name), [part.astype(dtype) for part in parts]):
        assert out.dtype == dtype
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", ["ring", "recursive_doubling", "double_tree", "swing"])
def test_the_sum_of_a_million_and_three(name):
    simulate_a_million_and_three(name, 5, np.float32)


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size", range(1, MAX_RANKS + 1))
@pytest.mark.parametrize("name", names())
def test_every_sum_of_a_million_and_three(name, size, dtype):
    simulate_a_million_and_three(name, size, dtype)


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size", range(1, MAX_RANKS + 1))
@pytest.mark.parametrize("name", names())
def test_every_sum_of_a_few(name, size, dtype):
    for num_elements in sorted({0, 1, size - 1, size, 1000}):
        inputs = [np.random.default_rng(rank).integers(-50, 50, num_elements).astype(dtype) for rank in range(size)]
        for out in simulate(find(name), inputs):
            np.testing.assert_array_equal(out, np.sum(inputs, axis=0).astype(dtype))


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("size", [3, 5, 8])
def test_all_ranks_end_with_the_same_bits(name, size):
    rng = np.random.default_rng(size)
    outputs = simulate(find(name), [rng.standard_normal(101).astype(np.float32) for _ in range(size)])
    assert len({out.tobytes() for out in outputs}) == 1


def expected_of(collective, inputs, rank, root=0):
    """Return what ``rank`` must hold, and where: by definition, without any schedule."""
    size, n = len(inputs), inputs[0].size
    own = slice(n * rank // size, n * (rank + 1) // size)
    everything = slice(0, n)
    chunk = [slice(n * r // size, n * (r + 1) // size) for r in range(size)]
    gathered = np.concatenate([inputs[r][chunk[r]] for r in range(size)])
    return {
        "reduce_scatter": (own, sum(inputs)[own]),
        "all_gather": (everything, gathered),
        "broadcast": (everything, inputs[root]),
        "reduce": (everything, sum(inputs)) if rank == root else (slice(0), inputs[0][:0]),
        "scatter": (own, inputs[root][own]),
        "gather": (everything, gathered) if rank == root else (slice(0), inputs[0][:0]),
        "scan": (everything, sum(inputs[: rank + 1])),
        "all_to_all": (everything, np.concatenate([x[own] for x in inputs])),
    }[collective]


OTHERS = [name for name in EVERYTHING if "/" in name and "barrier" not in name and "halo" not in name]


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_collectives(name):
    collective = name.split("/")[0]
    for size in range(1, MAX_RANKS + 1):
        rng = np.random.default_rng(size)
        for num_elements in (0, size, 60 * size) if collective == "all_to_all" else (0, 1, size - 1, size, 1000):
            inputs = [rng.integers(-1000, 1000, num_elements).astype(np.float64) for _ in range(size)]
            for rank, out in enumerate(simulate(find(name), inputs)):
                where, expected = expected_of(collective, inputs, rank)
                np.testing.assert_array_equal(out[where], expected, f"P {size}, rank {rank}, n {num_elements}")


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_halos_come_from_the_ranks_near(reach):
    distances = [distance for distance in range(-reach, reach + 1) if distance]
    for size in range(1, MAX_RANKS + 1):
        for each in (0, 1, 3):
            inputs = [np.random.default_rng(rank).standard_normal((2 * reach, each)) for rank in range(size)]
            found = simulate(find(f"halo_exchange/shift:reach={reach}"), [x.reshape(-1) for x in inputs])
            for rank, arrived in enumerate(found):
                for place, distance in enumerate(distances):
                    if 0 <= rank + distance < size:
                        expected = inputs[rank + distance][distances.index(-distance)]
                        np.testing.assert_array_equal(arrived.reshape(2 * reach, each)[place], expected)


ROOTED = [name for name in OTHERS if GOALS[name.split("/")[0]].rooted]


@pytest.mark.parametrize("name", [*ROOTED, "broadcast/chain:segments=3", "reduce/chain:segments=2"])
@pytest.mark.parametrize("root", range(9))
def test_every_root(name, root):
    found = find(f"{name}{',' if ':' in name else ':'}root={root}")
    assert f"rank {root}" in found.goal.sentence
    assert check(found, 9).startswith(f"{found.name}: checked for {f'{root + 1} <= ' if root else ''}P <= 9")
    for size in range(root + 1, 10):
        inputs = [np.random.default_rng(rank).integers(-1000, 1000, 20).astype(np.float64) for rank in range(size)]
        for rank, out in enumerate(simulate(found, inputs)):
            where, expected = expected_of(found.collective, inputs, rank, root)
            np.testing.assert_array_equal(out[where], expected, f"P {size}, rank {rank}")
    if root:
        with pytest.raises(UserError, match=f"has rank {root} as its root, but ranks go from 0 to {root - 1}"):
            simulate(found, inputs[:root])


def test_a_root_of_one_s_own():
    @algorithm("broadcast", num_chunks=lambda size: 1)
    def from_zero(rank, size):
        for peer in range(1, size) if rank == 0 else ():
            yield Step(send_to=peer, send=0)
        if rank:
            yield Step(recv_from=0, recv=0)

    @algorithm("broadcast", num_chunks=lambda size: 1)
    def from_any(rank, size, root=0):
        for peer in range(size) if rank == root else ():
            if peer != root:
                yield Step(send_to=peer, send=0)
        if rank != root:
            yield Step(recv_from=root, recv=0)

    for schedule in (from_zero, from_any):
        assert "checked for 4 <= P <= 6" in check(make_algorithm(schedule, root=3), 6)
    with pytest.raises(ScheduleError, match="P = 4: rank 0 sends chunk 0 before anything is in it"):
        check(dataclasses.replace(make_algorithm(from_any), root=3), 6)
    with pytest.raises(UserError, match="needs at least 5 ranks: check it for that many"):
        check(make_algorithm(from_zero, root=4), 4)


REDUCING = [name for name in EVERYTHING if find(name).collective in ("all_reduce", "reduce_scatter", "reduce", "scan")]


def parts_that_count(collective, rank, size, num_elements):
    """Return where the result of a reducing collective lies on ``rank``, and how many ranks' inputs are in it."""
    own = slice(num_elements * rank // size, num_elements * (rank + 1) // size)
    return {
        "all_reduce": (slice(None), size),
        "reduce_scatter": (own, size),
        "reduce": (slice(None) if rank == 0 else slice(0), size),
        "scan": (slice(None), rank + 1),
    }[collective]


@pytest.mark.parametrize("op", ["max", "min"])
@pytest.mark.parametrize("name", REDUCING)
def test_greatest_and_least(name, op):
    for size in (1, 2, 3, 6, 8):
        inputs = [np.random.default_rng(rank).standard_normal(50) for rank in range(size)]
        for rank, out in enumerate(simulate(find(name), inputs, op)):
            where, count = parts_that_count(find(name).collective, rank, size, 50)
            np.testing.assert_array_equal(out[where], getattr(np, op)(inputs[:count], axis=0)[where])


def test_the_names_are_there_for_a_library():
    assert ALL_REDUCE["ring"](0, 2)
    assert next(iter(ALL_REDUCE)) == "ring"
