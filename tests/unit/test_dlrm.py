"""DLRM and its layers: gradients, the formula of the paper, refusals."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.data.sources import open_dataset
from mpitrain.errors import UserError
from mpitrain.layers import DotInteraction, HashedColumns, Linear, OnNumbers, Sequential, Tanh
from mpitrain.model_table import ModelTable
from mpitrain.models.outline import describe
from tests.gradients import check_layer

SIZES = (0, 40, 7, 0, 90)
SMALL = "dlrm:size=3,bottom=5,top=6+4"


def samples(n, seed=0):
    rng = np.random.default_rng(seed)
    columns = [rng.integers(0, size, n) + 0.25 if size else rng.standard_normal(n) for size in SIZES]
    return np.stack(columns, axis=1).reshape(n, len(SIZES))


@pytest.mark.parametrize("n", [6, 1, 0])
def test_gradients_of_its_layers(n):
    rng = np.random.default_rng(n)
    check_layer(OnNumbers(Sequential(Linear(2, 3), Tanh()), 2), rng.standard_normal((n, 7)))
    for keeps_first in (True, False):
        check_layer(DotInteraction(4, 3, keeps_first=keeps_first), rng.standard_normal((n, 12)))


@pytest.mark.parametrize("options", ["", ",hash=8"])
def test_gradients(options):
    model = models.build(SMALL + options, (5,), 2, codes=models.Codes(categories=SIZES))
    check_layer(model, samples(5), tolerance=1e-5)


def test_the_formula_of_the_paper():
    model = models.build(SMALL, (5,), 2, codes=models.Codes(categories=SIZES))
    arena = Arena(model, dtype=np.float64)
    for p in arena.parameters:
        p.data[...] = np.random.default_rng(p.index).standard_normal(p.shape)
    w, x = arena.named_tensors(), samples(4)

    def layer(name, values):
        return values @ w[f"{name}.weight"] + w[f"{name}.bias"]

    for row, found in zip(x, model.forward(x, Context(dtype=np.float64)), strict=True):
        first = row[[0, 3]]
        for name in ("1.layer.0", "1.layer.2"):
            first = np.maximum(layer(name, first), 0)
        vectors = [first, *(w[f"0.tables.{k}.weight"][int(row[c])] for k, c in enumerate((1, 2, 4)))]
        products = [vectors[i] @ vectors[j] for i in range(4) for j in range(i)]
        z = np.concatenate([first, products])
        for name in ("3", "5"):
            z = np.maximum(layer(name, z), 0)
        np.testing.assert_allclose(found, layer("7", z), 1e-12)


def test_codes_alone():
    model = models.build(SMALL, (3,), 2, codes=models.Codes(categories=(40, 7, 90)))
    assert model[1].num_outputs == 3
    check_layer(model, np.random.default_rng(0).integers(0, 7, (5, 3)), tolerance=1e-5)


def test_hashed_columns():
    layer = HashedColumns((0, 5, 100), 10)
    x = np.float32([[3.5, 4, 99], [-20, 0, 10]])
    assert layer.sizes == (0, 5, 10)
    assert layer.forward(x, Context()).tolist() == [[3.5, 4, 9], [-20, 0, 0]]


@pytest.mark.parametrize(
    ("options", "sizes", "message"),
    [
        ("", (0, 0), "all columns are numbers: take mlp"),
        ("", (5,), "there is one column only"),
        (":size=0", (5, 5), "needs sizes of 1 or more"),
        (":hash=-1", (5, 5), "needs sizes of 1 or more"),
    ],
)
def test_what_it_refuses(options, sizes, message):
    with pytest.raises(UserError, match=message):
        models.MODELS.make(f"dlrm{options}", (len(sizes),), 2, categories=sizes)
    with pytest.raises(UserError, match=r"convnet takes numbers, and some columns are categories: .*dlrm"):
        models.build("convnet", (2,), 2, codes=models.Codes(categories=(5, 5)))


def test_clicks():
    made = open_dataset("clicks:samples=2000,columns=2,codes=300,numbers=1")
    x, y = made.train.x, made.train.y
    assert (x.dtype, x.shape, made.category_sizes) == (np.float32, (1800, 3), (0, 300, 300))
    counts = np.bincount(x[:, 1].astype(int), minlength=300)
    assert counts[0] > 5 * counts[50:100].mean() > 0  # Zipf's law
    assert 0.2 < y.mean() < 0.8
    by_code = [y[x[:, 1] == code].mean() for code in range(5)]
    assert np.ptp(by_code) > 0.1
    np.testing.assert_array_equal(open_dataset("clicks:samples=2000,columns=2,codes=300,numbers=1").train.x, x)
    assert open_dataset("clicks:numbers=0,samples=20").train.x.dtype == np.int64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("rows=3", "no option 'rows'"),
        ("samples=x", "must be whole numbers"),
        ("samples=1", "samples must be at least 2"),
        ("codes=20000000", "codes must be from 2 to 16777216"),
        ("columns=0", "columns must be at least 1"),
        ("numbers=-1", "numbers must be at least 0"),
    ],
)
def test_wrong_options_of_clicks(options, message):
    with pytest.raises(UserError, match=message):
        open_dataset(f"clicks:{options}")
    with pytest.raises(UserError, match="two classes"):
        open_dataset("clicks", task="regression")


def test_its_description_for_plans():
    model = models.build("dlrm:hash=2000", (4,), 2, codes=models.Codes(categories=(0, 40, 5000, 0)))
    found = describe(model, (4,))
    entries = ModelTable.of(model).parameters
    assert found.parameters == sum(entry.size for entry in entries)
    assert sum(unit.parameters_rows for unit in found.units) == 2000 * 16
