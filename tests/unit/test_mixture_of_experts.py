"""Mixtures of experts: formulas token by token, central differences, balance."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import GELU, Experts, MixtureOfExperts, Recompute, SwiGLU
from mpitrain.model_table import ModelTable
from mpitrain.parameter import Shard
from tests import expert_formulas as formulas
from tests.gradients import check_layer, numeric_gradient

E, C, H = 5, 6, 7
ACTIVATIONS = {
    "gelu": (GELU, formulas.gelu),
    "gelu_tanh": (lambda: GELU(approximate=True), formulas.gelu_tanh),
    "swiglu": (SwiGLU, formulas.swiglu),
}


def make(top_k=2, activation="gelu_tanh", bias=True, **options):
    return MixtureOfExperts(Experts(E, C, H, ACTIVATIONS[activation][0](), bias), top_k, **options)


def bind(layer, seed=0, dtype=np.float64):
    arena = Arena(layer, seed=seed, dtype=dtype)
    rng = np.random.default_rng(seed)
    for p in arena.parameters:
        p.data += 0.3 * rng.standard_normal(p.shape)
    return arena


def tokens(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal((*shape, C))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_formula(top_k, activation, bias):
    for normalize in (True, False):
        layer = make(top_k, activation, bias, normalize=normalize)
        w = bind(layer).named_tensors()
        x = tokens(4, 3)
        y = layer.forward(x, Context(dtype=np.float64))
        f = ACTIVATIONS[activation][1]
        expected = formulas.mixture_of_experts(w, x.reshape(-1, C), top_k, f, normalize=normalize)
        np.testing.assert_allclose(y.reshape(-1, C), expected, 1e-7, 1e-7)  # gelu has an error of 1e-9


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_gradients(top_k, activation):
    for options in ({}, {"normalize": False}):
        check_layer(make(top_k, activation, balance="none", **options), tokens(3, 4))
    check_layer(make(top_k, activation, False, balance="bias"), tokens(3, 4))


def test_gradients_without_dx_and_with_frozen_parts():
    layer = make(balance="none")
    layer.ask_dx(False)
    check_layer(layer, tokens(5))
    for name in ("router.weight", "experts.weight1", "experts.bias2"):
        layer = make(balance="none")
        dict(layer.named_parameters())[name].frozen = True
        check_layer(layer, tokens(5))


def all_to(layer, e):
    """Let the router choose expert ``e`` first for tokens with a large last number."""
    layer.router.weight.data[-1] = 0
    layer.router.weight.data[-1, e] = 100


@pytest.mark.parametrize("x", [tokens(0), tokens(0, 3), tokens(1), np.full((4, C), 2.0)], ids=["0", "0x3", "1", "one"])
def test_experts_without_tokens(x):
    """Their gradients are 0, also where the memory holds those of the step before."""
    layer = make(1, balance="none")
    arena, ctx = bind(layer), Context(dtype=np.float64)
    all_to(layer, 3)
    arena.gradients.fill(np.nan)
    arena.begin_step()
    y = layer.forward(x, ctx)
    dx = layer.backward(np.ones_like(y), ctx)
    assert y.shape == dx.shape == x.shape
    used = {3} if len(x) > 1 else set(np.flatnonzero(layer.experts.weight2.grad.any((1, 2))))
    assert len(used) == (x.size > 0)
    for p in (layer.experts.weight1, layer.experts.bias1, layer.experts.weight2, layer.experts.bias2):
        for e in range(E):
            assert (p.grad[e] == 0).all() if e not in used else p.grad[e].any(), p.name


def test_ties_go_to_the_first():
    layer = make(2, balance="none")
    bind(layer)
    layer.router.weight.data.fill(0)
    ctx = Context(dtype=np.float64)
    layer.forward(tokens(4), ctx)
    assert ctx[layer][2].tolist() == [[0, 1]] * 4


def test_a_token_depends_on_itself_alone():
    layer = make()
    bind(layer)
    x = tokens(6, 3)
    y = layer.forward(x, Context(dtype=np.float64)).copy()
    some = layer.forward(x[2:4], Context(dtype=np.float64, training=False))
    np.testing.assert_allclose(some, y[2:4], 1e-13, 1e-13)


def test_gradients_in_two_parts():
    """Gradients that are put off are those written at once."""
    results = []
    for later in (None, []):
        layer = make()
        arena, ctx = bind(layer), Context(dtype=np.float64)
        arena.begin_step(2)
        for seed in (1, 2):
            ctx.later = None if later is None else []
            y = layer.forward(tokens(4, seed=seed), ctx)
            layer.backward(np.ones_like(y), ctx)
            for put in ctx.later or ():
                put()
            ctx.later = None
        results.append(arena.gradients.copy())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("sums", [False, True])
def test_balance_loss(sums):
    """Its gradient is that of the formula, where the shares are constants: of this rank, or of all."""
    layer, x = make(balance="loss", rate=0.3), tokens(7)
    arena, ctx = bind(layer), Context(dtype=np.float64)
    w = arena.named_tensors()
    if sums:
        layer.sum_over_ranks = lambda counts: counts + np.arange(E)
    chosen = [formulas.choices(w, token, 2)[1] for token in x]
    counts = np.bincount(np.array(chosen).reshape(-1), minlength=E) + (np.arange(E) if sums else 0)
    arena.begin_step()
    y = layer.forward(x, ctx)
    dy = np.random.default_rng(3).standard_normal(y.shape)
    dx = layer.backward(dy.copy(), ctx).copy()

    def objective():
        result = formulas.mixture_of_experts(w, x, 2)
        return float((result * dy).sum()) + formulas.balance_loss(w, x, 2, 0.3, counts / counts.sum())

    for array, gradient in ((x, dx), (w["router.weight"], layer.router.weight.grad)):
        places = np.arange(array.size)
        expected = numeric_gradient(objective, array, places)
        np.testing.assert_allclose(gradient.reshape(-1), expected, 1e-6, 1e-6)


def test_balance_loss_of_even_shares_is_its_rate():
    w = {"router.weight": np.zeros((C, E))}
    assert formulas.balance_loss(w, tokens(10), 5, 0.01) == pytest.approx(10 * 0.01)


def test_balance_by_bias():
    """One update a step, from all microbatches of the step before; none by recomputation and evaluation."""
    layer = make(2, balance="bias", rate=0.25)
    arena = bind(layer)
    ctx, evaluation = Context(dtype=np.float64), Context(dtype=np.float64, training=False)
    layer.sum_over_ranks = lambda counts: 3 * counts
    block, bias, load = Recompute(layer), np.zeros(E), np.zeros(E)
    for step in range(4):
        bias += 0.25 * np.sign(load.mean() - load)
        load[:] = 0
        ctx.step = step
        arena.begin_step(2)
        for seed in range(2):
            x = tokens(5, seed=10 * step + seed)
            y = block.forward(x, ctx)
            w = arena.named_tensors()
            np.testing.assert_array_equal(w["score_bias"], bias)
            np.testing.assert_allclose(y, formulas.mixture_of_experts(w, x, 2, score_bias=bias), 1e-12, 1e-12)
            chosen = [formulas.choices(w, token, 2, score_bias=bias)[1] for token in x]
            load += 3 * np.bincount(np.array(chosen).reshape(-1), minlength=E)
            ctx.repeat(object())  # another layer uses the memory: backward computes again
            block.backward(np.ones_like(y), ctx)
            layer.forward(tokens(8), evaluation)
        np.testing.assert_array_equal(layer.load.data, load)
    assert bias.any()


def test_balance_by_bias_continues_from_its_states():
    def steps(layer, arena, numbers):
        ctx = Context(dtype=np.float64)
        for ctx.step in numbers:
            layer.forward(tokens(5, seed=ctx.step), ctx)
        return arena.states.copy()

    whole, first, second = (make(2, balance="bias", rate=0.1) for _ in range(3))
    expected = steps(whole, bind(whole), range(6))
    states = steps(first, bind(first), range(3))
    arena = bind(second)
    arena.states[:] = states
    np.testing.assert_array_equal(steps(second, arena, range(3, 6)), expected)


def test_balance_spreads_tokens():
    """A router that prefers one expert learns to spread its tokens, by loss or by bias."""
    x = 1 + tokens(64)
    largest = {}
    for balance, rate in (("none", 0), ("loss", 1.0), ("bias", 0.05)):
        layer = make(1, balance=balance, rate=rate)
        arena, ctx = Arena(layer, seed=0, dtype=np.float64), Context(dtype=np.float64)
        layer.router.weight.data[:, 2] += 1
        for ctx.step in range(60):
            arena.begin_step()
            y = layer.forward(x, ctx)
            layer.backward(np.zeros_like(y), ctx)
            arena.values -= 0.02 * arena.gradients
        largest[balance] = ctx[layer][3].counts.max()
    assert largest["none"] > 50
    assert largest["loss"] < 35
    assert largest["bias"] < 35


def test_parts_are_the_whole():
    """Parts begin with the values of the whole, and each has the results of its experts."""
    whole = Experts(E, C, H, GELU())
    arena = Arena(whole, seed=4, dtype=np.float64)
    ctx, counts, x = Context(dtype=np.float64), [2, 0, 3, 1, 1], tokens(7)
    whole.expect(counts, ctx)
    y = whole.forward(x, ctx).copy()
    for first, stop in ((0, 2), (2, 5)):
        part = whole.part(Shard(0, ((first, stop),)))
        for p in Arena(part, seed=4, dtype=np.float64).parameters:
            np.testing.assert_array_equal(p.data, p.shard.take(arena.named_tensors()[p.name]))
        rows = slice(sum(counts[:first]), sum(counts[:stop]))
        part.expect(counts[first:stop], ctx)
        np.testing.assert_array_equal(part.forward(x[rows], ctx), y[rows])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 6}, "top_k is 6, but must be from 1 to the number of experts, 5"),
        ({"top_k": 0}, "top_k is 0"),
        ({"balance": "luck"}, "the balance of experts is 'luck', but must be one of loss, bias, none"),
        ({"rate": -1.0}, "the rate of the balance of experts must be at least 0"),
    ],
)
def test_errors(options, message):
    with pytest.raises(UserError, match=message):
        make(**options)


V, T = 7, 6


@pytest.mark.parametrize("text", ["gpt:depth=3,width=8,heads=2", "llama:depth=3,width=8,heads=2,hidden=5"])
@pytest.mark.parametrize("balance", ["loss", "bias", "none"])
def test_models(text, balance):
    """Every second block has experts; numbers of parameters, gradients, single tokens."""
    dense = ModelTable.of(models.build(text, (T,), V))
    model = models.build(f"{text},experts=4,every=2,balance={balance},top_k=3", (T,), V)
    table = ModelTable.of(model)
    one_network = sum(e.size for e in dense.parameters if e.name.startswith("2.mlp."))
    assert sum(e.size for e in table.parameters) == sum(e.size for e in dense.parameters) + 3 * one_network + 4 * 8
    assert {e.name.split(".")[0] for e in table.parameters if ".experts." in e.name} == {"2"}
    rows = np.random.default_rng(0).integers(0, V, (2, T))
    if balance != "loss":
        check_layer(model, rows, places=6, tolerance=1e-5)


def test_first_values():
    arena = Arena(models.build("gpt:depth=8,width=64,heads=4,experts=4", (32,), 100), seed=3)
    for p in arena.parameters:
        if ".mlp." in p.name and "bias" not in p.name:
            expected = 0.02 / (4 if p.name.endswith("weight2") else 1)
            assert p.data.std() == pytest.approx(expected, rel=0.15), p.name
        elif ".mlp." in p.name:
            assert not p.data.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("experts=-1", "the experts of gpt must be at least 1, but they are -1"),
        ("experts=4,every=9", "every is 9, but must be from 1 to the number of blocks of gpt, 6"),
        ("experts=4,top_k=5", "top_k is 5, but must be from 1 to the number of experts, 4"),
        ("experts=4,balance=x", "the balance of experts is 'x'"),
    ],
)
def test_errors_of_models(options, message):
    with pytest.raises(UserError, match=message):
        models.build(f"gpt:{options}", (T,), V)
