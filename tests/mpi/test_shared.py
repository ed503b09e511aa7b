"""All-reduce in shared memory: in place, copied, short; falling back; a whole training."""

import os

import numpy as np
import pytest

from mpitrain.comm.node import window_all_reduce
from mpitrain.comm.node.window_all_reduce import SharedDevice, WindowAllReduce

pytestmark = pytest.mark.mpi


def integers(world, num_elements, dtype, seed):
    inputs = [np.random.default_rng([seed, r]).integers(-9, 9, num_elements).astype(dtype) for r in range(world.size)]
    return inputs[world.rank], np.sum(inputs, axis=0).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("num_elements", [1, 3, 1000, 300_003])
@pytest.mark.parametrize("in_window", [True, False])
def test_exact_sum_again_and_again(world, dtype, num_elements, in_window):
    arena = world.shared_empty((num_elements + 64,), dtype) if in_window else np.zeros(num_elements + 64, dtype)
    assert not arena.any()
    buffer = arena[64:]
    plan = world.plan_all_reduce(buffer, "shared")
    assert isinstance(plan.plan, WindowAllReduce)
    for seed in range(6):
        buffer[:], expected = integers(world, num_elements, dtype, seed)
        plan.start()
        plan.wait()
        np.testing.assert_array_equal(buffer, expected)
    assert not arena[:64].any()
    plan.free()


def test_buffers_in_different_places(world):
    arena = world.shared_empty((256,), np.float64)
    start = 64 if world.rank == 0 else 0
    buffer = arena[start : start + 64]
    buffer[:] = 1
    plan = world.plan_all_reduce(buffer, "shared")
    plan.start()
    plan.wait()
    assert (buffer == world.size).all()
    plan.free()


def test_many_in_flight_moved_by_poll(world):
    arena = SharedDevice(world).zeros((5, 1000))
    plans = [world.plan_all_reduce(row, "shared") for row in arena]
    for number, (row, plan) in enumerate(zip(arena, plans, strict=True)):
        row[:] = number
        plan.start()
    unfinished = plans
    while unfinished:
        unfinished = [plan for plan in unfinished if not plan.poll()]
    assert (arena == world.size * np.arange(5)[:, None]).all()
    for plan in plans:
        plan.free()


def test_started_twice(world):
    plan = world.plan_all_reduce(np.ones(4), "shared")
    plan.start()
    if world.size > 1:
        with pytest.raises(RuntimeError, match="still in flight"):
            plan.start()
    plan.wait()
    plan.free()


def test_falls_back_with_a_reason(world, monkeypatch):
    monkeypatch.setattr("mpitrain.comm.node.windows.why_not", lambda *_, **__: "the moon is full")
    buffer = world.shared_empty((10,))
    buffer[:] = 1
    plan = world.plan_all_reduce(buffer, "shared")
    assert plan.algorithm != "shared"
    plan.start()
    plan.wait()
    assert (buffer == world.size).all()
    assert world.notes[-2:] == ["no shared memory: the moon is full", "no shared all-reduce: the moon is full"]
    plan.free()
    world.notes.clear()


def test_why_not(tmp_path):
    assert window_all_reduce.why_not(2, 4, 0) == "the 4 ranks are on several nodes"
    assert "MiB are needed" in window_all_reduce.why_not(4, 4, 1 << 60, str(tmp_path))
    assert window_all_reduce.why_not(4, 4, 8, str(tmp_path)) is None
    free = os.statvfs(tmp_path)
    half = free.f_bavail * free.f_frsize // 2  # groups of one node ask at the same time
    assert window_all_reduce.why_not(1, 1, half, str(tmp_path)) is None
    assert "MiB are needed" in window_all_reduce.why_not(1, 1, half, str(tmp_path), asking=3)
