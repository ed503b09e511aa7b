"""A step that has run before asks for no big memory: all of it is in the arena and on ``ctx``."""

import tracemalloc

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.layers import (
    GELU,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Embedding,
    Experts,
    Flatten,
    LayerNorm,
    Linear,
    MixtureOfExperts,
    MultiHeadAttention,
    ReLU,
    Residual,
    RMSNorm,
    Sequential,
    Sigmoid,
    SiLU,
    SwiGLU,
    Tanh,
)
from mpitrain.losses import MSE, SoftmaxCrossEntropy
from mpitrain.optim import LARS, SGD, AdamW, global_norm

IMAGES = np.random.default_rng(0).standard_normal((24, 32, 32, 16)).astype(np.float32)
FEW = IMAGES.nbytes // 5

LAYERS = {
    "batch norm": BatchNorm2d(16),
    "layer norm": LayerNorm(16),
    "relu": ReLU(),
    "tanh": Tanh(),
    "sigmoid": Sigmoid(),
    "silu": SiLU(),
    "swiglu": SwiGLU(),
    "root mean square norm": RMSNorm(16),
    "gelu": GELU(),
    "gelu, tanh form": GELU(approximate=True),
    "dropout": Dropout(0.2),
    "residual": Residual(Tanh(), ReLU(), ReLU()),
    "sequential": Sequential(ReLU(), Flatten(), Linear(16384, 3)),
}


def peak(step):
    """Return the bytes that ``step`` asks for at most, the third time it runs."""
    step()
    step()
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def step_of(layer, x):
    arena, ctx = Arena(layer.named_parameters(), layer.named_states()), Context()
    dy = np.ones_like(layer.forward(x, ctx))

    def step():
        arena.begin_step()
        layer.forward(x, ctx)
        layer.backward(dy, ctx)
        arena.end_backward()

    return step


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    assert peak(step_of(LAYERS[name], IMAGES)) < FEW


def test_embedding():
    ids = np.random.default_rng(0).integers(0, 1000, 4096)
    assert peak(step_of(Embedding(1000, 256), ids)) < FEW


def test_attention():
    for how in ({}, {"num_kv_heads": 2, "rotary": 10.0}):
        layer = MultiHeadAttention(64, 4, causal=True, **how)
        assert peak(step_of(layer, IMAGES.reshape(24, 256, 64))) < FEW, how


def test_experts():
    """But for numbers of rows, which are small beside vectors."""
    layer = MixtureOfExperts(Experts(4, 256, 64, GELU()), 2)
    assert peak(step_of(layer, IMAGES.reshape(24, 64, 256))) < FEW


@pytest.mark.parametrize("how", [{"groups": 4}, {"dilation": 2}, {"groups": 16}])
def test_convolutions(how):
    assert peak(step_of(Conv2d(16, 16, 3, **how), IMAGES)) < FEW


@pytest.mark.parametrize(
    ("loss", "targets"), [(SoftmaxCrossEntropy(0.1), np.arange(1536) % 256), (MSE(), IMAGES.reshape(1536, 256))]
)
def test_losses(loss, targets):
    ctx, outputs = Context(), IMAGES.reshape(1536, 256)
    assert peak(lambda: (loss.forward(outputs, targets, ctx), loss.backward(ctx))) < FEW


@pytest.mark.parametrize("make", [lambda arena: SGD(arena, momentum=0.9, weight_decay=0.1), AdamW, LARS])
def test_optimizers(make):
    arena = Arena(Linear(1024, 1024).named_parameters())
    optimizer = make(arena)
    assert peak(lambda: (optimizer.step(0.1), global_norm(arena))) < FEW
