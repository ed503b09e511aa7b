"""Low-rank adapters: their result and gradient by formulas, the base model to the bit at first, merged weights."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import Dropout, Linear, LoRALinear, Sequential
from mpitrain.layers.lora import Adapter
from mpitrain.lora_options import LoRAOptions, continued, given_options, parse_lora
from mpitrain.models.adapt import adapted
from tests.gradients import check_layer

SEED = 3
GPT = "gpt:depth=2,width=8,heads=2,dropout=0.2"
LLAMA = "llama:depth=2,width=8,heads=2,hidden=6,kv_heads=1"
X = np.random.default_rng(SEED).integers(0, 9, (3, 5))


def wide():
    layer = Linear(5, 7)
    layer.parts = ("q", 3), ("k", 2), ("v", 2)
    return layer


def test_an_adapter():
    check_layer(Adapter(4, 2, 3, 0.5), np.random.default_rng(SEED).standard_normal((5, 4)))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("parts", [(), ("q",), ("v", "k"), ("q", "k", "v")])
def test_gradients(parts, dropout):
    x = np.random.default_rng(SEED).standard_normal((2, 3, 5))
    check_layer(LoRALinear(wide(), 2, 1.5, parts=parts, dropout=dropout), x)
    model = models.add_lora(Sequential(Linear(5, 5), wide(), Linear(7, 2)), f"rank=2,on=1,dropout={dropout}")
    model[0].weight.frozen = model[0].bias.frozen = False
    check_layer(models.prepare(model), x)


@pytest.mark.parametrize("text", [GPT, LLAMA])
@pytest.mark.parametrize("on", ["*.qkv.q+*.qkv.v", "*.qkv", "*.attention+*.mlp", "2.mlp.2"])
def test_gradients_in_a_model(text, on):
    check_layer(models.add_lora(models.build(text, (5,), 9), f"rank=2,alpha=3,dropout=0.1,on={on}"), X)


def test_result_and_gradients_by_formulas():
    """Float64 matrix products, each part by itself, with the weights trained, too."""
    rng = np.random.default_rng(SEED)
    layer = LoRALinear(wide(), 2, 1.5, parts=("q", "v"))
    arena, ctx = Arena(layer, dtype=np.float64), Context(dtype=np.float64)
    for p in arena.parameters:
        p.data[...] = rng.standard_normal(p.shape)
    w = {key: view.copy() for key, view in arena.named_tensors().items()}
    assert list(w) == ["weight", "bias", "lora_q.a", "lora_q.b", "lora_v.a", "lora_v.b"]
    x, dy = rng.standard_normal((4, 5)), rng.standard_normal((4, 7))
    delta = np.zeros((5, 7))
    delta[:, :3], delta[:, 5:] = 1.5 * w["lora_q.a"] @ w["lora_q.b"], 1.5 * w["lora_v.a"] @ w["lora_v.b"]
    whole = w["weight"] + delta
    np.testing.assert_allclose(layer.forward(x, ctx), x @ whole + w["bias"], rtol=1e-12)
    arena.begin_step()
    np.testing.assert_allclose(layer.backward(dy.copy(), ctx), dy @ whole.T, rtol=1e-12)
    found, dwhole = {p.name: p.grad for p in arena.parameters}, x.T @ dy
    np.testing.assert_allclose(found["weight"], dwhole, rtol=1e-12)
    for part, span in (("lora_q", slice(0, 3)), ("lora_v", slice(5, 7))):
        np.testing.assert_allclose(found[f"{part}.a"], 1.5 * dwhole[:, span] @ w[f"{part}.b"].T, rtol=1e-12)
        np.testing.assert_allclose(found[f"{part}.b"], 1.5 * w[f"{part}.a"].T @ dwhole[:, span], rtol=1e-12)


@pytest.mark.parametrize("text", [GPT, LLAMA])
def test_the_first_step_is_that_of_the_base_model_to_the_bit(text):
    model = models.build(text, (5,), 9)
    base = Arena(model, seed=SEED)
    values = {key: view.copy() for key, view in base.named_tensors().items()}
    expected = model.forward(X, Context(seed=SEED)).copy()  # with the same masks of dropout
    models.add_lora(model, "rank=2,dropout=0.5,on=*.attention+*.mlp.0")
    arena = Arena(model, seed=SEED)
    np.testing.assert_array_equal(model.forward(X, Context(seed=SEED)), expected)
    assert all(np.array_equal(arena.named_tensors()[key], value) for key, value in values.items())
    assert {p.name for p in arena.frozen} == set(values)
    numbers = [layer.number for layer in model.layers() if isinstance(layer, Dropout)]
    assert len(set(numbers)) == len(numbers)


def test_adapters_are_drawn_by_their_names_alone():
    """The same first values with more adapters, other options and any seed of others (law 1)."""
    draws = []
    for options in ("rank=4", "rank=4,alpha=1,dropout=0.1,on=*.q+*.k+*.v+*.mlp.0"):
        arena = Arena(models.add_lora(models.build(GPT, (5,), 9), options), seed=SEED)
        draws.append({key: view for key, view in arena.named_tensors().items() if ".lora_q." in key})
    first, second = draws
    assert first.keys() == second.keys()
    assert len(first) == 4
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert first["2.attention.qkv.lora_q.a"].any()
    assert not first["2.attention.qkv.lora_q.b"].any()
    assert not np.array_equal(first["2.attention.qkv.lora_q.a"], first["3.attention.qkv.lora_q.a"])


@pytest.mark.parametrize("on", ["*.qkv.q+*.qkv.v", "*.qkv+*.out", "*.mlp.0.up+*.mlp.2"])
def test_merged_weights_compute_the_same(on):
    model = models.add_lora(models.build(LLAMA, (5,), 9), f"rank=2,alpha=3,on={on}")
    arena, rng = Arena(model, seed=SEED), np.random.default_rng(SEED)
    for view in arena.named_tensors().values():
        view += 0.2 * rng.standard_normal(view.shape).astype(np.float32)
    expected = model.forward(X, Context(training=False)).copy()
    merged = models.merge_lora(model, arena.named_tensors())
    assert adapted(model)
    base = Arena(models.remove_lora(model), seed=SEED)
    assert not adapted(model)
    assert not base.frozen
    assert merged.keys() == base.named_tensors().keys()
    for key, view in base.named_tensors().items():
        view[...] = merged[key]
    found = model.forward(X, Context(training=False))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_a_weight_of_two_layers_takes_no_adapter_of_one():
    model = Sequential(Linear(3, 3), Linear(3, 3))
    model[1].weight, model[0].weight.uses = model[0].weight, 2
    models.add_lora(model, "rank=1,on=0")
    with pytest.raises(UserError, match="0 shares its weight with another layer, so its adapter cannot be merged"):
        models.merge_lora(model, Arena(model).named_tensors())


def test_adapters_are_replaced_by_others():
    model = models.add_lora(models.build(GPT, (5,), 9), "rank=2")
    first = Arena(model, seed=SEED).named_tensors()
    again = Arena(models.add_lora(model, "rank=2"), seed=SEED).named_tensors()
    assert list(first) == list(again)
    names = list(adapted(models.add_lora(model, "rank=2,on=2.attention.out")))
    assert names == ["2.attention.out"]


def test_what_else_is_trained():
    model = models.add_lora(models.build(GPT, (5,), 9), "rank=2,train=*.norm1+3.mlp.2.bias")
    names = {p.name for p in Arena(model).parameters if "lora" not in p.name}
    norms = {f"{block}.norm1.{one}" for block in (2, 3) for one in ("weight", "bias")}
    assert names == norms | {"3.mlp.2.bias"}


def test_options_as_text():
    assert parse_lora("") is None
    options = parse_lora("rank=4,alpha=2,dropout=0.1,on=a+b,train=c")
    assert options == LoRAOptions(4, 2.0, 0.1, ("a", "b"), ("c",))
    assert parse_lora(options.text) == options
    assert parse_lora("rank=4").alpha == 8
    assert given_options("alpha=3") == {"alpha": 3.0}
    assert continued("rank=4,alpha=8", "rank=4,alpha=8,train=c") == "rank=4,alpha=8,train=c"
    assert continued("rank=4,train=d", "rank=4,alpha=8,train=c") == "rank=4,train=d"
    assert continued("", "rank=4") == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rank=0", "rank in --lora is 0, but must be at least 1"),
        ("rank=2,alpha=-1", "alpha in --lora is -1.0, but must be positive"),
        ("rank=2,alpha=nan", "alpha in --lora is nan, but must be positive"),
        ("dropout=1", "dropout in --lora is 1.0, but must be at least 0 and below 1"),
        ("on=", "on in --lora is , but must be a pattern of names"),
        ("rank=two", "rank in --lora is 'two', but must be a whole number"),
        ("8", "each once, not '8'"),
        ("rank=2,rank=2", "each once, not 'rank=2'"),
        ("rnk=2", "each once, not 'rnk=2' (did you mean 'rank'?)"),
        ("rank=2,on=*.qvk", "on= in --lora '*.qvk' matches no Linear of the model; did you mean '*.qkv'?"),
        ("rank=2,train=*.bais", "train= in --lora '*.bais' matches no parameter of the model; did you mean '*.bias'?"),
    ],
)
def test_wrong_options(text, message):
    with pytest.raises(UserError) as error:
        models.add_lora(models.build(GPT, (5,), 9), text)
    assert message in str(error.value)


def test_a_model_without_attention_has_no_default():
    with pytest.raises(UserError, match=r"which the model does not have; name others of it with on=PATTERN: 1, 3"):
        models.add_lora(models.build("mlp", (5,), 3), "rank=2")
    model = models.add_lora(models.build("mlp", (5,), 3), "rank=2,on=1")
    assert list(adapted(model)) == ["1"]
