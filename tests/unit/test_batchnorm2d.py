import threading

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.layers import BatchNorm2d
from tests.gradients import check_layer


def bound(layer, dtype=np.float64):
    """Return the arena of ``layer``, with a scale and shift that are not 1 and 0."""
    arena = Arena(layer.named_parameters(), layer.named_states(), dtype=dtype)
    layer.weight.data[:] = np.linspace(0.5, 2, layer.num_channels)
    layer.bias.data[:] = np.linspace(-1, 1, layer.num_channels)
    return arena


@pytest.mark.parametrize("shape", [(5, 3, 4, 2), (1, 1, 1, 3), (0, 2, 2, 3), (2, 7, 5, 1), (2, 130, 128, 2)])
def test_gradients(shape):
    check_layer(BatchNorm2d(shape[-1]), 2 + 3 * np.random.default_rng(1).standard_normal(shape), tolerance=3e-6)


def test_training_and_evaluation_follow_the_formula():
    rng = np.random.default_rng(0)
    layer = BatchNorm2d(3, momentum=0.25)
    bound(layer)
    x = 1 + rng.standard_normal((4, 5, 6, 3))
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    y = layer.forward(x, Context(dtype=np.float64))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5) * layer.weight.data + layer.bias.data)
    np.testing.assert_allclose(layer.running_mean.data, 0.25 * mean)
    np.testing.assert_allclose(layer.running_var.data, 0.75 + 0.25 * x.var((0, 1, 2), ddof=1))

    z = (x - layer.running_mean.data) / np.sqrt(layer.running_var.data + 1e-5)
    y = layer.forward(x, Context(training=False, dtype=np.float64))
    np.testing.assert_allclose(y, z * layer.weight.data + layer.bias.data)


def test_a_large_mean_costs_no_precision():
    layer = BatchNorm2d(2)
    Arena(layer.named_parameters(), layer.named_states())
    x = (1000 + np.random.default_rng(0).standard_normal((64, 32, 32, 2))).astype(np.float32)
    y = layer.forward(x, Context()).astype(np.float64)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1, atol=2e-3)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=2e-3)


def test_running_statistics_are_kept_where_there_are_no_samples():
    layer = BatchNorm2d(2)
    bound(layer)
    layer.forward(np.empty((0, 3, 3, 2)), Context(dtype=np.float64))
    np.testing.assert_array_equal(layer.running_mean.data, 0)
    np.testing.assert_array_equal(layer.running_var.data, 1)


class FakeRanks:
    """Sums arrays of several threads, as an all-reduce does."""

    def __init__(self, size):
        self.barrier = threading.Barrier(size, timeout=10)
        self.arrays = []
        self.calls = 0

    def sum(self, array):
        self.arrays.append(array)
        self.barrier.wait()
        total = np.sum(self.arrays, axis=0)
        if self.barrier.wait() == 0:
            self.arrays = []
            self.calls += 1
        self.barrier.wait()
        array[:] = total
        return array


@pytest.mark.parametrize("shares", [(4, 1, 2), (7, 0, 0), (0, 3, 4)])
def test_synchronized_ranks_compute_what_one_rank_does(shares):
    rng = np.random.default_rng(0)
    x, dy = (5 + 2 * rng.standard_normal((7, 3, 2, 4)) for _ in range(2))

    def train(x, dy, sum_over_ranks, results, rank):
        layer = BatchNorm2d(4)
        arena = bound(layer)
        layer.sum_over_ranks = sum_over_ranks
        ctx = Context(dtype=np.float64)
        y = layer.forward(x, ctx).copy()
        dx = layer.backward(dy.copy(), ctx)
        results[rank] = y, dx, arena.gradients, arena.states

    whole, parts, ranks = {}, {}, FakeRanks(3)
    train(x, dy, None, whole, 0)
    cuts = np.cumsum(shares)[:-1]
    threads = [
        threading.Thread(target=train, args=(*batch, ranks.sum, parts, rank))
        for rank, batch in enumerate(zip(np.split(x, cuts), np.split(dy, cuts)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ranks.calls == 2
    y, dx, gradients, states = zip(*(parts[rank] for rank in range(3)))
    np.testing.assert_allclose(np.concatenate(y), whole[0][0])
    np.testing.assert_allclose(np.concatenate(dx), whole[0][1], atol=1e-12)
    np.testing.assert_allclose(sum(gradients), whole[0][2], atol=1e-12)
    for state in states:
        np.testing.assert_allclose(state, whole[0][3])


def test_gradients_are_written_before_ranks_meet():
    """In a sum, another shard of the same rank may run, and put its gradient to the same place."""
    layer, order = BatchNorm2d(2), []
    arena = bound(layer)
    layer.sum_over_ranks = lambda array: order.append("sum") or array
    arena.on_ready = lambda p: order.append(p.name)
    x, ctx = np.random.default_rng(0).standard_normal((2, 3, 3, 2)), Context(dtype=np.float64)
    arena.begin_step()
    layer.backward(layer.forward(x, ctx), ctx)
    assert order == ["sum", "bias", "weight", "sum"]
