"""Normalisation as layers ask for it, on the device that stands for a GPU."""

from functools import partial

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.device import CPU
from mpitrain.layers import BatchNorm2d, LayerNorm, Linear, PostNormBlock, PreNormBlock, RMSNorm
from mpitrain.parallel.cooperative import CooperativeThreads
from tests.gpu.device import ShimDevice
from tests.gpu.layers.check import Run, check_layer, near

IMAGES = [(5, 3, 4, 2), (2, 7, 5, 1), (3, 6, 5, 16), (2, 3, 3, 33), (1, 2, 2, 300), (2, 40, 30, 3), (0, 2, 2, 3)]


def pre(first, second):
    return PreNormBlock(first, Linear(12, 12), second, Linear(12, 12))


def post(first, second):
    return PostNormBlock(Linear(12, 12), first, Linear(12, 12), second)


def fused(channels):
    layer = BatchNorm2d(channels)
    layer.relu = True
    return layer


@pytest.mark.parametrize("shape", IMAGES)
@pytest.mark.parametrize("make", [BatchNorm2d, fused])
def test_batchnorm(device, shape, make):
    x = (2 + 3 * np.random.default_rng(1).standard_normal(shape)).astype(np.float32)
    launches = check_layer(device, lambda: make(shape[-1]), x, seed=2)
    rows = ["moments", "sums", "apply", "dx"] if x.size else []
    assert launches == {f"batchnorm_{name}": 1 for name in [*rows, "statistics", "slopes_of_sums"]}


@pytest.mark.parametrize("make", [BatchNorm2d, fused])
def test_batchnorm_in_evaluation(device, make):
    x = np.random.default_rng(1).standard_normal((3, 5, 4, 6)).astype(np.float32)
    assert check_layer(device, lambda: make(6), x, training=False) == {"batchnorm_evaluate": 1}


def test_a_large_mean_costs_no_precision(device):
    x = (1000 + np.random.default_rng(0).standard_normal((16, 17, 19, 2))).astype(np.float32)
    check_layer(device, lambda: BatchNorm2d(2), x, tolerance=4e-5)


def test_a_lone_large_value_costs_no_precision(device):
    x = np.zeros((40, 9, 9, 3), np.float32)
    x[0, 0, 0], x[7, 3, 3] = 500, 1
    check_layer(device, lambda: BatchNorm2d(3), x, tolerance=4e-5)


@pytest.mark.parametrize("shares", [(4, 1, 2), (7, 0, 0)])
@pytest.mark.parametrize("make", [BatchNorm2d, fused])
def test_ranks_together_compute_what_one_computes(shares, make):
    """Three ranks, the second of them a CPU."""
    rng = np.random.default_rng(0)
    x, dy = ((5 + 2 * rng.standard_normal((7, 3, 2, 4))).astype(np.float32) for _ in range(2))
    whole, parts = Run(lambda: make(4), CPU, np.float64, True), {}
    y = whole.forward(x.astype(np.float64)).copy()
    dx, gradients, states = whole.backward(x.astype(np.float64), dy.astype(np.float64), times=1)
    ranks = CooperativeThreads(lambda arrays: np.sum(arrays, axis=0))

    def train(rank, x, dy):
        device = CPU if rank == 1 else ShimDevice()

        def total(array):
            host = device.to_host(array).copy()
            ranks.sum(host)
            array[...] = device.from_host(host)
            return host

        run = Run(lambda: make(4), device, np.float32, True)
        run.layer.sum_over_ranks = total
        found = device.to_host(run.forward(device.from_host(x))).copy()
        parts[rank] = found, *run.backward(device.from_host(x), dy, times=1)

    cuts = np.cumsum(shares)[:-1]
    batches = zip(range(3), np.split(x, cuts), np.split(dy, cuts))
    ranks.run([partial(train, *batch) for batch in batches], between=lambda: None)
    found = list(zip(*(parts[rank] for rank in range(3))))
    near(np.concatenate(found[0]), y, 1e-5, 0)
    near(np.concatenate(found[1]), dx, 1e-5, 0)
    near(sum(found[2]), gradients, 1e-5, 0)
    for state in found[3]:
        near(state, states, 1e-5, 0)


@pytest.mark.parametrize("shape", [(1, 1), (10, 64), (3, 5, 100), (2000, 7), (0, 5), (3, 768), (3, 8200), (2, 30000)])
def test_layernorm(device, shape):
    x = (2 + 3 * np.random.default_rng(1).standard_normal(shape)).astype(np.float32)
    launches = check_layer(device, lambda: LayerNorm(shape[-1]), x, seed=3)
    rows = ["layernorm_forward", "layernorm_backward"] if x.size else []
    assert launches == dict.fromkeys([*rows, "sum_parts"], 1)


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
@pytest.mark.parametrize("block", [pre, post])
def test_the_sum_before_a_norm_takes_no_launch(device, norm, block):
    """Nor does the one after its gradient: an addition is left where a block that normalizes first ends."""
    x = np.random.default_rng(1).standard_normal((3, 5, 12)).astype(np.float32)
    launches = check_layer(device, lambda: block(norm(12), norm(12)), x, seed=4)
    name = norm.__name__.lower()
    assert launches[f"{name}_forward"] == launches[f"{name}_backward"] == launches["sum_parts"] == 2
    assert launches["add"] == (1 if block is pre else 2)


def test_an_observed_norm_runs_by_itself(device):
    """So a search for a NaN sees what it takes and returns; the numbers are the same."""
    x = np.random.default_rng(1).standard_normal((3, 5, 12)).astype(np.float32)
    run, seen = Run(lambda: pre(LayerNorm(12), LayerNorm(12)), device, np.float32, True), []
    expected, on_device = device.to_host(run.forward(device.from_host(x))).copy(), device.from_host(x)
    stop = run.layer.observe(lambda layer, phase, array: seen.append((type(layer), phase)))
    np.testing.assert_array_equal(device.to_host(run.forward(on_device)), expected)
    run.backward(on_device, np.ones_like(x), times=1)
    stop()
    assert seen.count((LayerNorm, "output")) == 2 * 2
    assert seen.count((LayerNorm, "gradient")) == 2


@pytest.mark.parametrize("make", [BatchNorm2d, LayerNorm, RMSNorm])
@pytest.mark.parametrize("rows", [(2, 1, 1), (2, 3, 4)])
def test_fp32_where_activations_are_bf16(device, make, rows):
    """As a layer of one's own may return it, forward and backward."""
    device.precision = "bf16"
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((*rows, 8)).astype(np.float32) for _ in range(2))
    results = []
    for where in (CPU, device):
        layer = make(8)
        arena, ctx = Arena(layer, device=where), Context(device=where)
        arena.begin_step()
        y = where.to_host(layer.forward(where.from_host(x.copy()), ctx)).copy()
        dx = where.to_host(layer.backward(where.from_host(dy.copy()), ctx)).copy()
        results.append((y, dx, where.to_host(layer.weight.grad).copy()))
    for expected, found in zip(*results, strict=True):
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(found, expected, atol=0.03 * scale, rtol=0)
