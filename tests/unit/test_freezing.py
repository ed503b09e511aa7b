"""Frozen parameters: they keep their values and cost nothing, and all others are trained as before."""

import numpy as np
import pytest

from mpitrain import SoftmaxCrossEntropy, models, split_head
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import Layer, Linear, Recompute, Sequential, fused, linear
from mpitrain.model_table import ModelTable
from mpitrain.name_patterns import matches, select
from mpitrain.optim import AdamW, global_norm
from mpitrain.parameter import Parameter
from mpitrain.training.checkpoint import State
from mpitrain.training.checkpoint.parts import Part, tensors_of

SEED = 5
SIZE = "depth=2,width=8,heads=2"
MODELS = {
    "mlp": ("mlp:widths=7+6,dropout=0.2", (5,), 4, 0),
    "gelu": ("mlp:widths=7+6,activation=gelu", (5,), 4, 0),
    "convnet": ("convnet:channels=2+3,width=5", (8, 8, 1), 4, 0),
    "resnet": ("resnet8", (8, 8, 3), 4, 0),
    "gpt": (f"gpt:{SIZE},dropout=0.1", (5,), 9, 9),
    "llama": (f"llama:{SIZE},hidden=6,kv_heads=1,tied=false", (5,), 9, 9),
    "bert": (f"bert:{SIZE},hidden=6,vocabulary=9", (5,), 4, 9),
    "words": (f"bert:{SIZE},hidden=6,types=0", (5,), 9, 9),
    "vit": (f"vit:{SIZE},patch=2", (4, 4, 3), 4, 0),
}


def build(name):
    text, shape, outputs, tokens = MODELS[name]
    return models.build(text, shape, outputs, **({"vocabulary": tokens} if "vocabulary" in text else {}))


def samples(name):
    rng = np.random.default_rng(SEED)
    _, shape, outputs, tokens = MODELS[name]
    x = rng.integers(0, tokens, (3, *shape)) if tokens else rng.standard_normal((3, *shape)).astype(np.float32)
    per_token = tokens and outputs == tokens
    return x, rng.integers(0, outputs, x.shape if per_token else 3)


def step(model, name, *, later=False, microbatches=1, whole=True):
    """Return the arena after a backward pass, and the names in the order in which gradients became ready."""
    arena, ready = Arena(model, seed=SEED), []
    arena.on_ready = lambda p: ready.append(p.name)
    x, y = samples(name)
    body, loss = (model, SoftmaxCrossEntropy()) if whole else split_head(model, SoftmaxCrossEntropy())
    arena.begin_step(microbatches)
    for _ in range(microbatches):
        ctx = Context(seed=SEED)
        arena.add_totals(loss.forward(body.forward(x, ctx), y, ctx))
        ctx.later = [] if later else None
        body.backward(loss.backward(ctx), ctx)
        for write in ctx.later or ():
            write()
    arena.end_backward()
    return arena, ready


def freeze_some(model, rng):
    """Freeze a random part of the parameters, and return the patterns."""
    names = [entry.name for entry in ModelTable.of(model).parameters]
    kept = rng.permutation(len(names))[: rng.integers(1, len(names))]
    patterns = [name for place, name in enumerate(names) if place not in kept] or names[1:]
    models.freeze(model, patterns)
    return patterns


@pytest.mark.parametrize("how", ["plain", "later", "recomputed", "microbatches", "chunks"])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_trained_has_the_gradients_that_it_has_without(name, how, monkeypatch):
    monkeypatch.setattr("mpitrain.head_loss.LARGE", 2 if how == "chunks" else 10**6)
    options = {"later": how == "later", "microbatches": 1 + (how == "microbatches"), "whole": how != "chunks"}
    everything, order = step(build(name), name, **options)
    wanted = {p.name: p.grad for p in everything.parameters}
    values = everything.named_tensors()
    for draw in range(3):
        model, rng = build(name), np.random.default_rng([SEED, draw])
        patterns = freeze_some(model, rng)
        if how == "recomputed":
            layers = [Recompute(layer) if any(layer.children()) else layer for layer in model]
            model = models.prepare(Sequential(*layers))
        arena, ready = step(model, name, **options)
        message = f"{name}, {how}, draw {draw}, frozen {patterns}"
        assert {p.name for p in arena.frozen} == set(patterns), message
        assert sorted(ready) == sorted(p.name for p in arena.parameters), message
        if how == "plain":
            assert ready == [each for each in order if each in ready], message
        for p in arena.parameters:
            np.testing.assert_array_equal(p.grad, wanted[p.name], err_msg=f"{p.name} of {message}")
        assert all(np.array_equal(view, values[key]) for key, view in arena.named_tensors().items()), message


def test_frozen_parameters_have_neither_gradients_nor_slots_nor_a_part_in_the_norm():
    name = "gpt"
    everything, _ = step(build(name), name)
    arena, _ = step(models.freeze(build(name), "0,2,*.norm2"), name)
    trained = sum(p.size for p in arena.parameters)
    assert (arena.num_parameters, arena.num_frozen) == (trained, everything.num_parameters - trained)
    assert arena.gradients.size == arena.size < trained + 16 * (len(arena.parameters) + 1)
    assert arena.num_values == len(arena.values) > everything.num_parameters
    assert list(arena.named_tensors()) == list(everything.named_tensors())
    optimizer = AdamW(arena, weight_decay=0.1)
    assert all(slot.shape == (arena.size,) for slot in optimizer.slots.values())
    squares = sum(float((p.grad.astype(float) ** 2).sum()) for p in arena.parameters)
    assert global_norm(arena) == pytest.approx(squares**0.5, rel=1e-6)
    before = {key: view.copy() for key, view in arena.named_tensors().items()}
    optimizer.step(0.1)
    changed = {key for key, view in arena.named_tensors().items() if not np.array_equal(view, before[key])}
    assert changed == {p.name for p in arena.parameters}


def test_checkpoints_hold_values_of_all_and_slots_of_those_that_are_trained():
    arena = Arena(models.freeze(build("llama"), "1.*"), seed=SEED)
    state = State(arena, AdamW(arena))
    names = {tensor.name for tensor in tensors_of(state)}
    frozen = {p.name for p in arena.frozen}
    assert frozen
    assert frozen < names
    assert not any(f"optimizer.{slot}.{name}" in names for slot in state.optimizer.slots for name in frozen)
    halves = [(slice(0, 99), slice(arena.size, arena.size + 50)), (slice(99, arena.size), slice(arena.size + 50, None))]
    halves[1] = halves[1][0], slice(arena.size + 50, arena.num_values)
    written = [sum(len(data) for _, data in Part(state, half, 1).stretches()) for half in halves]
    assert sum(written) == 4 * (3 * arena.num_parameters + arena.num_frozen)


def calls_of(monkeypatch, model, name):
    """Return how often products ran in a backward pass, and the layers whose backward ran."""
    found = {"dw": 0, "dx": 0}

    def counted(key, function):
        def call(*arguments):
            found[key] += 1
            return function(*arguments)

        return call

    for module in (linear, fused.linear_chain):
        for op, key in (("linear_dw", "dw"), ("linear_dx", "dx"), ("linear_dx_relu", "dx")):
            if hasattr(module, op):
                monkeypatch.setattr(module, op, counted(key, getattr(module, op)))
    names, ran = {layer: key for key, layer in model.running()}, []
    stop = model.observe(lambda layer, phase, array: ran.append(names[layer]) if phase == "backward" else None)
    step(model, name)
    stop()
    return found, ran


def test_backward_does_what_the_trained_layers_need_alone(monkeypatch):
    with monkeypatch.context() as patch:
        found, _ = calls_of(patch, build("mlp"), "mlp")
        assert found == {"dw": 3, "dx": 2}
    with monkeypatch.context() as patch:
        found, _ = calls_of(patch, models.freeze(build("gelu"), "3.*,5.*"), "gelu")  # dx through both, dw of the first
        assert found["dw"] == 1
    with monkeypatch.context() as patch:
        found, ran = calls_of(patch, models.freeze(build("mlp"), "1.*,4.*"), "mlp")
        assert found == {"dw": 1, "dx": 0}
        assert len(ran) == 1
    with monkeypatch.context() as patch:
        found, ran = calls_of(patch, models.freeze(build("llama"), "0,1,2.attention,2.norm*,3,4"), "llama")
        assert ran == ["4", "3", "2.mlp.2", "2.mlp.1", "2.mlp.0"]
        assert found == {"dw": 2, "dx": 2}


def test_backward_of_attention_ends_at_the_first_linear_that_nothing_below_needs(monkeypatch):
    model = models.freeze(build("gpt"), "0,2,*.mlp,*.norm?,*.qkv,4")  # the second Linear of the last attention is left
    assert [p.name for p in Arena(model).parameters] == ["3.attention.out.bias", "3.attention.out.weight"]
    monkeypatch.setattr(
        "mpitrain.layers.multi_head_attention.attention_dx", lambda *arguments: pytest.fail("is called")
    )
    assert calls_of(monkeypatch, model, "gpt")[0]["dw"] == 1


class Blind(Layer):
    """A layer of a user that asks for nothing and writes every gradient."""

    def __init__(self):
        self.factor = Parameter((3,), lambda rng, shape: np.ones(shape))

    def forward(self, x, ctx):
        ctx[self] = x
        return x * self.factor.data

    def backward(self, dy, ctx):
        self.factor.grad[...] = (dy * ctx[self]).sum(0)
        self.factor.written()
        return dy * self.factor.data


def test_a_layer_that_knows_nothing_of_it_can_be_frozen():
    model = Sequential(Linear(3, 3), Blind(), Linear(3, 2))
    arena, ctx = Arena(models.freeze(model, "1")), Context()
    ready = []
    arena.on_ready = lambda p: ready.append(p.name)
    for _ in range(2):
        arena.begin_step()
        model.backward(np.ones_like(model.forward(np.ones((4, 3), np.float32), ctx)), ctx)
        arena.end_backward()
    assert ready == ["2.weight", "2.bias", "0.weight", "0.bias"] * 2
    np.testing.assert_array_equal(model[1].factor.data, 1)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            "2.norm1.wieght",
            "--freeze '2.norm1.wieght' matches no parameter of the model; did you mean '2.norm1.weight'?",
        ),
        ("2.*,*.atention", "--freeze '*.atention' matches no parameter of the model; did you mean '*.attention'?"),
        (
            "xyzzy",
            "--freeze 'xyzzy' matches no parameter of the model; there are 0.weight, 0.positions, 2.norm1.weight, "
            "2.norm1.bias, 2.attention.qkv.weight, 2.attention.qkv.bias, 2.attention.out.weight, 2.attention.out.bias "
            "and 21 more",
        ),
        ("*", "--freeze * leaves no parameter of the model to train"),
    ],
)
def test_what_cannot_be_frozen(patterns, message):
    with pytest.raises(UserError) as error:
        models.freeze(build("gpt"), patterns)
    assert str(error.value) == message


def test_patterns_of_layers_mean_all_in_them():
    names = ["1.attention.qkv.weight", "1.mlp.0.weight", "11.weight"]
    assert select("--freeze", ["1"], names) == names[:2]
    assert select("--freeze", ["*.qkv", "1[01]"], names) == [names[0], names[2]]
    assert not matches("attention", names[0])
