"""Every schedule against provenance and against the exact sum, for every P from 1 to 17 and odd sizes."""

import numpy as np
import pytest

from mpitrain.collectives import ALL_REDUCE, ScheduleError, Step, check_all_reduce, ring, simulate

MAX_RANKS = 17


@pytest.mark.parametrize("name", ALL_REDUCE)
def test_provenance(name):
    check_all_reduce(ALL_REDUCE[name], MAX_RANKS)


@pytest.mark.parametrize("name", ALL_REDUCE)
@pytest.mark.parametrize("size", range(1, MAX_RANKS + 1))
def test_simulated_sum(name, size):
    seed = 100 * size
    rng = np.random.default_rng(seed)
    for num_elements in {0, 1, size - 1, size, size + 1, 1000}:
        for dtype in (np.float32, np.float64, np.int64):
            inputs = [rng.integers(-1000, 1000, num_elements).astype(dtype) for _ in range(size)]
            outputs = simulate(ALL_REDUCE[name], inputs)
            for rank, out in enumerate(outputs):
                np.testing.assert_array_equal(out, np.sum(inputs, axis=0), f"rank {rank}, n {num_elements}")


@pytest.mark.parametrize("name", ALL_REDUCE)
@pytest.mark.parametrize("size", [3, 5, 8])
def test_all_ranks_end_with_the_same_bits(name, size):
    rng = np.random.default_rng(size)
    outputs = simulate(ALL_REDUCE[name], [rng.standard_normal(101).astype(np.float32) for _ in range(size)])
    assert len({out.tobytes() for out in outputs}) == 1


def test_rounds():
    for size in range(1, MAX_RANKS + 1):
        for rank in range(size):
            assert len(list(ring(rank, size))) == 2 * (size - 1)
            assert len(list(ALL_REDUCE["tree"](rank, size))) <= 2 * (size - 1).bit_length()


def off_by_one_chunk(rank, size):
    for step in ring(rank, size):
        yield Step(step.send_to, (step.send + 1) % size, step.recv_from, step.recv, step.reduce)


def swapped_peer(rank, size):
    for step in ring(rank, size):
        yield Step(step.recv_from, step.send, step.recv_from, step.recv, step.reduce)


def forgotten_last_lap(rank, size):
    yield from list(ring(rank, size))[:-1]


def reduce_instead_of_copy(rank, size):
    for step in ring(rank, size):
        yield Step(step.send_to, step.send, step.recv_from, step.recv, True)


def copy_instead_of_reduce(rank, size):
    for step in ring(rank, size):
        yield Step(step.send_to, step.send, step.recv_from, step.recv, False)


def message_to_itself(rank, size):
    yield Step(send_to=rank, send=0, recv_from=rank, recv=0, reduce=True)


def everybody_receives_first(rank, size):
    if size > 1:
        peer = rank ^ 1 if rank ^ 1 < size else 0
        yield Step(recv_from=peer, recv=range(size), reduce=True)
        yield Step(send_to=peer, send=range(size))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (off_by_one_chunk, "rank 1 sends chunk 0 in its round 0, but rank 0 takes it for chunk 1"),
        (swapped_peer, r"P = 3: deadlock"),
        (forgotten_last_lap, "P = 2: rank 0 ends without rank 1.s contribution in chunk 0"),
        (reduce_instead_of_copy, "a second time"),
        (copy_instead_of_reduce, "ends without rank"),
        (message_to_itself, "cannot message itself"),
        (everybody_receives_first, r"deadlock: rank 0 \(round 0\) waits for a message from 1; rank 1"),
    ],
)
def test_broken_schedules_are_rejected(schedule, message):
    with pytest.raises(ScheduleError, match=message):
        check_all_reduce(schedule, 5)
