"""Layers and losses that are one or two launches, on the device that stands for a GPU."""

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.device import CPU
from mpitrain.layers import GELU, Dropout, Embedding, LayerNorm, Linear, ReLU, Residual, Sequential, Sigmoid, SiLU, Tanh
from mpitrain.losses import MSE, SoftmaxCrossEntropy
from mpitrain.optim import LARS
from tests.gpu.layers.check import check_layer, near

SHAPES = [(1,), (3, 5), (2, 3, 4, 5), (5001,), (0, 3)]
ACTIVATIONS = {
    "relu": (ReLU, {"relu_forward", "relu_dx"}),
    "tanh": (Tanh, {"tanh_forward", "tanh_dx"}),
    "sigmoid": (Sigmoid, {"sigmoid_forward", "sigmoid_dx"}),
    "silu": (SiLU, {"silu_forward", "silu_dx"}),
    "gelu": (GELU, {"gelu_forward", "multiply"}),
    "gelu_tanh": (lambda: GELU(approximate=True), {"gelu_tanh_forward", "multiply"}),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_activations(device, name, shape):
    make, kernels = ACTIVATIONS[name]
    x = 2 * np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    assert check_layer(device, make, x) == (dict.fromkeys(kernels, 1) if x.size else {})


def test_the_end_of_a_residual_block(device):
    """y = max(w x + b + x, 0): the gradient goes to both branches, each in memory of its own."""

    def make():
        return Residual(Linear(6, 6), activation=ReLU())

    launches = check_layer(device, make, np.random.default_rng(1).standard_normal((7, 6)).astype(np.float32))
    assert launches["add_relu"] == launches["add_relu_dx"] == launches["add"] == 1


@pytest.mark.parametrize("rows", [1, 40, 1500])
@pytest.mark.parametrize(
    ("activation", "bias"), [(ReLU, True), (ReLU, False), (GELU, True), (lambda: GELU(approximate=True), True)]
)
def test_an_activation_between_linear_layers_costs_no_launch(device, rows, activation, bias):
    """Forward and backward it is part of a product, and so are the sums of the bias's gradient over slabs of rows."""

    def make():
        return Sequential(Linear(3, 5, bias), activation(), Linear(5, 70, bias), activation(), Linear(70, 6))

    x = np.random.default_rng(rows).standard_normal((rows, 3)).astype(np.float32)
    launches = check_layer(device, make, x, tolerance=5e-5)
    assert launches["gemm_simt"] == 9
    assert launches["column_sum"] == 1, "of the last layer"
    assert launches["sum_rows"] >= 2 * bias
    assert set(launches) <= {"gemm_simt", "gemm_sum", "column_sum", "sum_rows"}


@pytest.mark.parametrize("approximate", [False, True])
def test_a_gelu_with_another_layer_above(device, approximate):
    """Forward it is part of the product; backward it is a launch of its own."""

    def make():
        return Sequential(Linear(6, 7), GELU(approximate), LayerNorm(7))

    launches = check_layer(device, make, np.random.default_rng(1).standard_normal((9, 6)).astype(np.float32))
    assert launches["gelu_tanh_dx" if approximate else "gelu_dx"] == 1
    assert launches["gemm_simt"] == 3
    assert not [name for name in launches if name.endswith("_forward") and "gelu" in name]


def test_dropout(device):
    x = np.random.default_rng(1).standard_normal((9, 33)).astype(np.float32)
    assert check_layer(device, lambda: Dropout(0.3), x) == {"dropout": 2}


@pytest.mark.parametrize("shape", [(5,), (3, 4), (0, 4), (1, 1), (30, 20)])
@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_embedding(device, shape, dtype):
    """600 tokens of 9 kinds: the order of equal ones goes over several blocks."""
    x = np.random.default_rng(1).integers(0, 9, shape).astype(dtype)
    make = [lambda: Embedding(9, 5), lambda: Sequential(Embedding(9, 3), Linear(3, 2))]
    for each in make if dtype == np.int64 else []:
        launches = check_layer(device, each, x, others=1 if x.size or each is make[0] else 2)  # gradients are cleared
        names = ("embedding_forward", "embedding_order", "embedding_dw")
        assert [launches[name] for name in names] == [int(x.size > 0)] * 3
        assert launches["embedding_merge"] == int(x.size > 64)
    layer, ctx = make[0](), Context(device=device)
    arena = Arena(layer.named_parameters(), device=device)
    expected = device.to_host(layer.weight.data)[x]
    np.testing.assert_array_equal(device.to_host(layer.forward(device.from_host(x), ctx)), expected)
    assert arena.size


def test_tokens_outside_the_table_are_nan_and_named(device):
    layer, ctx = Embedding(6, 3), Context(device=device)
    Arena(layer.named_parameters(), device=device)
    x = device.from_host(np.array([[0, 6], [-1, 5]]))
    y = device.to_host(layer.forward(x, ctx))
    np.testing.assert_array_equal(np.isnan(y).all(axis=2), [[False, True], [True, False]])
    layer.backward(device.from_host(np.ones((2, 2, 3), np.float32)), ctx)
    np.testing.assert_array_equal(device.to_host(layer.weight.grad)[:, 0], [1, 0, 0, 0, 0, 1])
    assert layer.diagnose(x) == "a token is -1, but the embedding has rows 0 to 5"
    assert layer.diagnose(device.from_host(np.array([5]))) == ""


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (700, 5), (0, 2), (300_000, 1)])
def test_squared_error(device, shape):
    rng = np.random.default_rng(0)
    y, t = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    loss, ctx = MSE(), Context(device=device)
    on = device.from_host(y), device.from_host(t)
    for _ in range(2):
        with device.counted() as counts:
            totals = loss.forward(*on, ctx)
            dy = loss.backward(ctx)
    assert counts["buffers"] == counts["temporaries"] == counts["syncs"] == 0
    expected = np.float64(y) - t
    found = device.to_host(totals)
    np.testing.assert_allclose(found, [y.size, (expected**2).sum(), 0], rtol=1e-5)
    near(device.to_host(dy), 2 * expected, 1e-6, 0)


@pytest.mark.parametrize("loss", [MSE, SoftmaxCrossEntropy])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_outputs_in_another_layout_or_type(device, loss, precision):
    """As a layer of one's own may return them: a part of an array, or fp32 where activations are bf16."""
    device.precision = precision
    rng = np.random.default_rng(0)
    whole = device.from_host(rng.standard_normal((6, 9)).astype(np.float32))
    t = rng.standard_normal((6, 5)).astype(np.float32) if loss is MSE else rng.integers(0, 5, 6)
    results = []
    for outputs in (whole[:, :5], device.from_host(np.ascontiguousarray(device.to_host(whole)[:, :5]))):
        made, ctx = loss(), Context(device=device)
        totals = made.forward(outputs, device.from_host(t), ctx)
        dy = made.backward(ctx)
        assert dy.dtype == outputs.dtype
        results += [(device.to_host(totals).copy(), device.to_host(dy).copy())]
    exact, ctx = loss(), Context()
    expected, gradient = exact.forward(device.to_host(whole)[:, :5], t, ctx), exact.backward(ctx)
    for found, dy in results:
        np.testing.assert_allclose(found, expected, rtol=1e-5 if precision == "fp32" else 2e-2)
        near(dy, gradient, 1e-5 if precision == "fp32" else 2e-2, 0)


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_lars_takes_two_launches(device, decay, monkeypatch):
    """Parameters of one element and of 100,000, which goes in blocks here, some of which do not decay."""
    monkeypatch.setattr("mpitrain.optim.base.KERNEL_BLOCK", 30_000)
    weights, gradients = [], []
    for where in (CPU, device):
        model = Sequential(Linear(1, 1), Linear(400, 250), Linear(3, 2))
        arena = Arena(model.named_parameters(), device=where)
        optimizer = LARS(arena, weight_decay=decay, eta=0.1)
        for step in range(3):
            rng = np.random.default_rng(step)
            gradient = rng.standard_normal(arena.size).astype(np.float32)
            arena.gradients[...] = where.from_host(gradient)
            if where is device:
                with device.counted() as counts:
                    optimizer.step(0.2, 0.5)
            else:
                optimizer.step(0.2, 0.5)
        weights.append(where.to_host(arena.values).copy())
        gradients.append(where.to_host(optimizer.slots["momentum"]).copy())
    for found in (weights, gradients):
        parts = [slice(p.start, p.stop) for p in arena.parameters]
        for part in parts:
            np.testing.assert_allclose(found[1][part], found[0][part], rtol=1e-4, atol=1e-6)
    assert counts["launches"] == {"lars_norms": 1, "lars": 1}
    assert counts["buffers"] == counts["temporaries"] == counts["syncs"] == counts["calls"] == 0
