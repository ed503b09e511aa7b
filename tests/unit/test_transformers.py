"""Transformers: published numbers of parameters, formulas, derivatives."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import PAD, Context
from mpitrain.errors import UserError
from mpitrain.layers import PatchEmbedding
from mpitrain.model_table import ModelTable
from tests import transformer_formulas as formulas
from tests.gradients import check_layer

V, T = 7, 6
TINY = "depth=2,width=8,heads=2"
PARAMETERS = [
    ("gpt:size=gpt2,window=1024", (256,), 50257, 124_439_808),
    ("llama:size=smollm2-135m", (256,), 49152, 134_515_008),
    ("bert:size=base,window=512,vocabulary=30522", (128,), 2, 109_482_240 + 768 * 2 + 2),
    ("bert:size=minilm-l6,window=512,vocabulary=30522", (128,), 2, 22_713_216 + 384 * 2 + 2),
    ("vit:size=base,patch=16", (224, 224, 3), 1000, 86_567_656),
]


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


def compare(model, x, formula, *, padded=False):
    """Compare the logits of rows with those of a formula for one row, without its padding."""
    y = model.forward(x, Context(dtype=np.float64))
    for row, logits in zip(x, y, strict=True):
        row = row[row != PAD] if padded else row
        expected = formula(row)
        np.testing.assert_allclose(logits[: len(expected)], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("end_of_text", [None, 3])
@pytest.mark.parametrize("more", ["", ",experts=4,every=2"])
def test_gpt_is_its_formula(end_of_text, more):
    model, w = bound(f"gpt:{TINY},window=9{more}", (T,), V, end_of_text=end_of_text)
    compare(model, rows(num_rows=8), lambda row: formulas.gpt(w, row, 2, 2, end_of_text))


@pytest.mark.parametrize("end_of_text", [None, 3])
@pytest.mark.parametrize("more", ["", ",kv_heads=4", ",kv_heads=1,tied=false,base=100", ",experts=3"])
def test_llama_is_its_formula(end_of_text, more):
    model, w = bound(f"llama:depth=2,width=16,heads=4,hidden=10{more}", (T,), V, end_of_text=end_of_text)
    kv_heads, base = (1, 100) if "tied" in more else (4 if "kv" in more else 2, 10000)
    compare(model, rows(num_rows=8), lambda row: formulas.llama(w, row, 2, 4, kv_heads, base, end_of_text))


def test_bert_is_its_formula():
    x = rows(num_rows=4)
    x[1, 4:] = x[2, 1:] = PAD
    model, w = bound(f"bert:{TINY},window=9", (T,), 3, vocabulary=V)
    compare(model, x, lambda row: formulas.bert_classes(w, row, 2, 2), padded=True)
    model, w = bound(f"bert:{TINY},hidden=5", (T,), V)
    compare(model, x, lambda row: formulas.bert_words(w, row, 2, 2), padded=True)


def test_vit_is_its_formula():
    model, w = bound(f"vit:{TINY},patch=2", (4, 6, 3), 5)
    images = np.random.default_rng(0).standard_normal((3, 4, 6, 3))
    compare(model, images, lambda image: formulas.vit(w, image, 2, 2, 2))


@pytest.mark.parametrize(
    "text",
    [
        f"gpt:{TINY}",
        f"gpt:{TINY},dropout=0.2,end_of_text=3",
        "llama:depth=2,width=8,heads=4,hidden=5",
        "llama:depth=1,width=8,heads=2,hidden=5,tied=false,end_of_text=3",
        f"bert:{TINY},dropout=0.1",
    ],
)
def test_gradients(text):
    check_layer(models.build(text, (T,), V), rows(num_rows=2), places=8, tolerance=1e-5)


def test_gradients_of_classifiers():
    x = rows()
    x[1, 4:] = PAD
    check_layer(models.build(f"bert:{TINY},dropout=0.1", (T,), 3, vocabulary=V), x, places=8, tolerance=1e-5)
    images = np.random.default_rng(0).standard_normal((2, 4, 6, 3))
    check_layer(models.build(f"vit:{TINY},patch=2,dropout=0.1", (4, 6, 3), 5), images, places=8, tolerance=1e-5)


@pytest.mark.parametrize("patch", [1, 2])
def test_patch_embedding(patch):
    check_layer(PatchEmbedding((4, 6, 3), patch, 5), np.random.default_rng(0).standard_normal((2, 4, 6, 3)))
    with pytest.raises(UserError, match="images of 4x6 do not divide into patches of 4x4"):
        PatchEmbedding((4, 6, 3), 4, 5)


@pytest.mark.parametrize("text", ["gpt", "llama:kv_heads=1,tied=false", "bert", "vit:patch=2"])
def test_each_block_is_a_unit(text):
    model = models.build(f"{text}{',' if ':' in text else ':'}{TINY}", (4, 6, 3) if "vit" in text else (T,), V)
    blocks = [unit.name for unit in model.units() if any(True for _ in unit.layer.children()) and unit.name != "0"]
    assert blocks == ["1", "2"]


def test_packed_sequences_are_as_if_alone():
    for text in (f"gpt:{TINY}", "llama:depth=2,width=8,heads=2,kv_heads=1,hidden=5"):
        model, _ = bound(text, (T,), V, end_of_text=0)
        packed = np.array([[4, 5, 0, 6, 2, 3]])
        y = model.forward(packed, Context(dtype=np.float64)).copy()
        for part in (slice(0, 3), slice(3, 6)):
            alone = model.forward(packed[:, part], Context(dtype=np.float64))
            np.testing.assert_allclose(y[:, part], alone, rtol=1e-9, atol=1e-12)


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
        ("llama:base=1", (T,), {}, "base of rotary positions must be more than 1"),
        ("llama:kv_heads=5", (T,), {}, "6 heads do not divide into 5 groups"),
        ("llama", (T,), {"vocabulary": 9}, "the model llama predicts tokens, of which there are 9"),
        ("bert:window=3", (T,), {}, "the model bert has a window of 3"),
        ("vit", (T,), {}, r"the model vit takes images"),
        ("vit:patch=3", (8, 9, 1), {}, "images of 8x9 do not divide into patches of 3x3"),
        ("gpt:window=5", (T,), {}, "window of 5 tokens, but rows have 6"),
        ("gpt:heads=7", (T,), {}, "a size of 384 does not divide into 7 heads"),
        ("gpt", (T,), {"vocabulary": 9}, "predicts tokens, of which there are 9, but the targets are 7 classes"),
    ],
)
def test_what_cannot_be_built(text, shape, options, message):
    with pytest.raises(UserError, match=message):
        models.build(text, shape, V, **options)
