"""Transformers: published numbers of parameters, formulas, derivatives."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import PAD, Context
from mpitrain.errors import UserError
from mpitrain.model_table import ModelTable
from tests import transformer_formulas as formulas
from tests.gradients import check_layer

V, T = 7, 6
TINY = "depth=2,width=8,heads=2"
PARAMETERS = [("gpt:size=gpt2,window=1024", (256,), 50257, 124_439_808)]


def bound(text, shape, num_outputs, seed=0, **options):
    """Return a model in float64 with random parameters, and these by name."""
    model = models.build(text, shape, num_outputs, **options)
    arena = Arena(model, seed=seed, dtype=np.float64)
    rng = np.random.default_rng(seed)
    for p in arena.parameters:
        p.data += 0.3 * rng.standard_normal(p.shape)
    return model, arena.named_tensors()


def rows(seed=1, num_rows=3):
    return np.random.default_rng(seed).integers(0, V, (num_rows, T))


@pytest.mark.parametrize(("text", "shape", "num_outputs", "count"), PARAMETERS, ids=str)
def test_published_numbers_of_parameters(text, shape, num_outputs, count):
    table = ModelTable.of(models.build(text, shape, num_outputs))
    assert sum(entry.size for entry in table.parameters) == count


def test_gpt_is_its_formula():
    model, w = bound(f"gpt:{TINY},window=9", (T,), V)
    x = rows()
    y = model.forward(x, Context(dtype=np.float64))
    for row, logits in zip(x, y):
        np.testing.assert_allclose(logits, formulas.gpt(w, row, 2, 2), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("text", [f"gpt:{TINY}", f"gpt:{TINY},dropout=0.2"])
def test_gradients(text):
    check_layer(models.build(text, (T,), V), rows(num_rows=2), places=8, tolerance=1e-5)


def test_gpt_does_not_see_padding():
    model, _ = bound(f"gpt:{TINY}", (T,), V)
    x = rows()
    x[:, 4:] = PAD
    y = model.forward(x, Context(dtype=np.float64))[:, :4].copy()
    np.testing.assert_allclose(y, model.forward(x[:, :4], Context(dtype=np.float64)), rtol=1e-9, atol=1e-12)


def test_first_values_of_gpt():
    model = models.build("gpt:depth=8,width=64,heads=4", (32,), 100)
    arena = Arena(model, seed=3)
    for p in arena.parameters:
        if p.name.endswith("bias"):
            assert not p.data.any(), p.name
        elif p.data.ndim == 2:
            expected = 0.02 / (4 if p.name.endswith(("out.weight", "mlp.2.weight")) else 1)
            assert p.data.std() == pytest.approx(expected, rel=0.1), p.name
        else:
            assert (p.data == 1).all(), p.name


@pytest.mark.parametrize(
    ("text", "shape", "options", "message"),
    [
        ("gpt", (8, 8, 1), {}, r"takes rows of tokens, but the samples have the shape \(8, 8, 1\)"),
        ("gpt:size=huge", (T,), {}, "gpt has no size 'huge'; there are small, tiny, gpt2"),
        ("gpt:depth=-1", (T,), {}, "the depth of gpt must be at least 1"),
        ("gpt:window=5", (T,), {}, "window of 5 tokens, but rows have 6"),
        ("gpt:heads=7", (T,), {}, "a size of 384 does not divide into 7 heads"),
        ("gpt", (T,), {"vocabulary": 9}, "predicts tokens, of which there are 9, but the targets are 7 classes"),
    ],
)
def test_what_cannot_be_built(text, shape, options, message):
    with pytest.raises(UserError, match=message):
        models.build(text, shape, V, **options)
