"""Experts divided among ranks: forward, dx and dw of one rank with all tokens, however they are routed."""

import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.data.sampler import share
from mpitrain.errors import UserError
from mpitrain.layers import GELU, Experts, MixtureOfExperts, Recompute, Sequential, SwiGLU, Tanh
from mpitrain.parallel.expert import DividedExperts, rules
from mpitrain.parallel.moves import RaggedTurn
from mpitrain.parallel.moves.check import check_adjoint
from mpitrain.parallel.moves.exchange import pool_of
from mpitrain.parallel.moves.rooms import KEPT_ROOMS

pytestmark = pytest.mark.mpi

C, H = 6, 5


@pytest.fixture
def group(world):
    return world.group("expert")


def whole(num_experts, top_k=2, *, activation=SwiGLU, **options):
    return MixtureOfExperts(Experts(num_experts, C, H, activation()), top_k, **options)


def divided(group, *arguments, **options):
    mixture = whole(*arguments, **options)
    mixture.experts = DividedExperts(group, mixture.experts)
    mixture.sum_over_ranks = group.sum
    return mixture


def run(layer, xs, dys, *, later=False, change=lambda w: None, recompute=False):
    """Return y and dx of microbatches, and parameters and states by name, after the first step of two."""
    layer = Recompute(layer) if recompute else layer
    arena, ctx = Arena(layer, seed=3, dtype=np.float64), Context(dtype=np.float64)
    change(arena.named_tensors())
    results = []
    for ctx.step in range(2):
        arena.begin_step(len(xs))
        for x, dy in zip(xs, dys, strict=True):
            ctx.later = [] if later else None
            y = np.array(layer.forward(x, ctx))
            if recompute:
                ctx.repeat(object())
            dx = np.array(layer.backward(dy.copy(), ctx))
            for put_gradient in ctx.later or ():
                put_gradient()
            ctx.later = None
            results.append((y, dx))
    return results, arena


def parts_of(x, group, how):
    """Return the tokens of this rank: an even share of them, or all of the last rank, or those of another division."""
    if how == "even":
        return x[share(len(x), group.rank, group.size)]
    size, rank = group.size, group.rank
    growing = [len(x) * r * r // size**2 for r in range(size + 1)]
    ends = {"last": [0] * size + [len(x)], "growing": growing}[how]
    return x[ends[rank] : ends[rank + 1]]


def to_one(w):
    """Let expert 1 be the first choice of all tokens."""
    w["router.weight"][:] = 0
    w["router.weight"][0, 1] = 50


@pytest.mark.parametrize(
    ("more_experts", "how", "options"),
    [
        (0, "even", {"balance": "loss", "rate": 0.5, "activation": GELU}),
        (2, "growing", {"balance": "bias", "rate": 0.1}),
        (1, "last", {"balance": "none"}),
    ],
)
@pytest.mark.parametrize("routing", ["free", "to one"])
@pytest.mark.parametrize("way", ["plain", "later", "recompute"])
def test_one_rank(group, more_experts, how, options, routing, way):
    """Experts that do not divide, ranks without tokens, all tokens for one expert; two microbatches and steps."""
    rng = np.random.default_rng(5)
    xs, dys = rng.standard_normal((2, 2, 11, C))
    xs[:, :, 0] = 1 + np.abs(xs[:, :, 0])
    change = to_one if routing == "to one" else lambda w: None
    num_experts = group.size + more_experts
    top_k = min(2, num_experts)
    if routing == "to one" and num_experts == 1:
        pytest.skip("one expert has all tokens anyway")
    args = {"change": change, "later": way == "later", "recompute": way == "recompute"}
    expected, arena = run(whole(num_experts, top_k, **options), xs, dys, **args)
    mine = [[parts_of(x, group, how) for x in arrays] for arrays in (xs, dys)]

    found, part = run(divided(group, num_experts, top_k, **options), *mine, **args)
    for (y, dx), (all_y, all_dx) in zip(found, expected, strict=True):
        np.testing.assert_allclose(y, parts_of(all_y, group, how), 1e-12, 1e-12)
        np.testing.assert_allclose(dx, parts_of(all_dx, group, how), 1e-12, 1e-12)
    assert [p.name for p in part.parameters] == [p.name for p in arena.parameters]
    for p, one in zip(part.parameters, arena.parameters, strict=True):
        values, gradient = (one.data, one.grad) if p.shard is None else map(p.shard.take, (one.data, one.grad))
        np.testing.assert_array_equal(p.data, values)
        summed = group.sum(p.grad.copy()) if p.shard is None else p.grad
        np.testing.assert_allclose(summed, gradient, 1e-12, 1e-12, err_msg=p.name)
    np.testing.assert_allclose(part.states, arena.states, 1e-12, 1e-12)


@pytest.mark.parametrize(("frozen", "moves"), [("", 1), ("experts.", 0), ("router.", 1)])
def test_gradients_without_use_are_not_sent(group, frozen, moves):
    """No dx is needed, and perhaps no gradient of experts; that of the router needs no messages."""
    mixture = divided(group, group.size + 1, 1, balance="none")
    for name, p in mixture.named_parameters():
        p.frozen = bool(frozen) and name.startswith(frozen)
    mixture.ask_dx(False)
    arena, ctx = Arena(mixture, dtype=np.float64), Context(dtype=np.float64)
    there, back = mixture.experts.there.exchange, mixture.experts.back.exchange
    x = np.random.default_rng(group.rank).standard_normal((20, C))
    y = mixture.forward(x, ctx)
    before = there.messages, back.messages
    arena.begin_step()
    mixture.backward(y.copy(), ctx)
    assert (there.messages - before[0], back.messages - before[1]) == (0, moves * (group.size - 1))
    assert all(p.grad.any() or p.shard is not None for p in arena.parameters)


def test_adjoint_of_the_derivative(group):
    mixture = divided(group, 2 * group.size + 1, 2, balance="none")
    model = Sequential(mixture, Tanh())
    assert check_adjoint(model, (4 + group.rank, C), group).passed
    right = mixture.experts.there.backward
    mixture.experts.there.backward = lambda dy, ctx: 2 * right(dy, ctx)
    assert not check_adjoint(model, (4 + group.rank, C), group).passed


def test_rules(group):
    model = models.build("gpt:depth=2,width=6,heads=2,experts=5,every=2", (4,), 7)
    size = min(group.size, 5)
    rules.check(model, size, (4,))
    with pytest.raises(UserError, match="a layer with 5 experts cannot be divided among 6 ranks: take --mesh expert=5"):
        rules.check(model, 6, (4,))
    with pytest.raises(UserError, match=r"no experts to divide among the 2 ranks .* --model gpt:experts=8"):
        rules.check(models.build("gpt:depth=2,width=6,heads=2", (4,), 7), 2, (4,))
    if group.size > 5:
        return
    names = [name for name, _ in model.named_parameters()]
    found = rules.divide(model, group, (4,))
    assert [name for name, _ in found.model.named_parameters()] == names
    assert found.gives_whole_outputs
    sizes = group.all_gather({n: p.shape[0] for n, p in model.named_parameters() if "experts" in n})
    assert sum(part["2.mlp.experts.weight1"] for part in sizes) == 5


def test_layers_share_plans_and_old_ones_are_released(group):
    """Counts that differ a little use the plans of the first; those of rooms that are dropped are released."""
    ctx, pool = Context(dtype=np.float64), pool_of(group)
    pool.free()
    pool.rooms.clear()
    turns = [RaggedTurn(group, slack=0.25) for _ in range(3)]

    def count():
        return sum(map(len, pool._idle.values()))

    def send(turn, rows):
        turn.follow(np.full((group.size, group.size), rows), ctx)
        sent = np.arange(group.size * rows, dtype=np.float64)[:, None] + 1000 * group.rank
        y = turn.forward(sent, ctx)
        first = [1000 * source + group.rank * rows for source in range(group.size)]
        np.testing.assert_array_equal(y[:, 0], np.concatenate([np.arange(rows) + start for start in first]))
        np.testing.assert_array_equal(turn.backward(y, ctx), sent)

    for rows in (100, 95, 110, 104):
        for turn in turns:
            send(turn, rows)
    assert count() == 1
    for rows in range(KEPT_ROOMS + 3):
        send(turns[0], 2 ** (rows % 8) * (20 + rows))
    assert count() <= KEPT_ROOMS
