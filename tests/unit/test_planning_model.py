"""Models as units to plan: parameters, operations and kept bytes of papers and of the layers."""

import math

import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import Layer, Linear, Residual, Sequential
from mpitrain.layers.embedding import sample_dtype
from mpitrain.models import Codes, build
from mpitrain.models.outline import describe
from mpitrain.parallel.pipeline.measure import measure_units, random_samples
from tests.plans import gpt3


def test_gpt3_has_the_parameters_and_operations_of_the_paper():
    """Narayanan et al. 2021, equation 3: 96 b s l h^2 (1 + s / (6 h) + V / (16 l h)) with recomputation, 3/4 without.

    Causal attention has half of the paper's products of attention.
    """
    model = gpt3()
    assert model.parameters == 174_604_259_328
    s, depth, h, v = 2048, 96, 12288, 50257
    operations = 72 * s * depth * h * h * (1 + s / (12 * h) + v / (12 * depth * h))
    assert model.flops == pytest.approx(operations, rel=1e-3)


def kept_by(model, shape, n):
    """Return the bytes that forward keeps for backward, as the layers have asked for them."""
    Arena(model, seed=0).begin_step()
    ctx = Context()
    model.forward(random_samples(model, (n, *shape), sample_dtype(model), 0), ctx)
    return ctx.num_bytes - ctx.loans.num_bytes + ctx.loans.used_bytes


@pytest.mark.parametrize(
    ("text", "shape", "outputs", "n"),
    [
        ("gpt:size=tiny", (128,), 5000, 16),
        ("gpt:size=tiny,dropout=0.1", (128,), 5000, 16),
        ("gpt:size=tiny,experts=4", (128,), 5000, 16),
        ("llama:size=tiny", (128,), 5000, 16),
        ("bert:size=tiny", (128,), 2, 16),
        ("vit:size=tiny,patch=8", (64, 64, 3), 10, 32),
        ("mlp:widths=512+512+512", (784,), 10, 256),
        ("resnet20", (32, 32, 3), 10, 32),
        ("resnet18", (64, 64, 3), 100, 16),
        ("convnet", (32, 32, 3), 10, 64),
        ("unet:depth=2,width=16", (32, 32, 3), 4, 16),
        ("lenet", (28, 28, 1), 10, 512),
    ],
)
def test_description_agrees_with_the_layers(text, shape, outputs, n):
    known = Codes(5000) if text[:3] in ("gpt", "lla", "ber") else None
    model = build(text, shape, outputs, codes=known)
    found = describe(model, shape, text, tokens=known is not None)
    parameters = {id(p): p.size for _, p in model.named_parameters()}
    assert found.parameters == sum(parameters.values())
    measured = measure_units(model, shape, 2, seconds=0.0)
    assert [unit.name for unit in found.units] == [cost.name for cost in measured]
    assert [unit.output for unit in found.units] == [math.prod(cost.output_shape) for cost in measured]
    body = model.part(0, len(model.units()) - 1)  # the last layer and the loss are computed in chunks, or small
    planned = 4 * n * sum(unit.kept + unit.kept_cut for unit in found.units[:-1])
    assert planned == pytest.approx(kept_by(body, shape, n), rel=0.05)


def test_a_layer_without_a_rule_runs_with_no_samples():
    class Twice(Layer):
        def __init__(self, size):
            self.inner = Linear(size, 2 * size)
            self.weight = self.inner.weight

        def forward(self, x, ctx):
            return self.inner.forward(x, ctx)

        def backward(self, dy, ctx):
            return self.inner.backward(dy, ctx)

    found = describe(Sequential(Residual(Linear(6, 6)), Twice(6)), (6,))
    assert found.units[1].output == 12
    with pytest.raises(UserError, match="cannot plan a Twice, which does not take samples of shape"):
        describe(Sequential(Twice(6)), (7,))
