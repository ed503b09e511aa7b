"""Each optimizer against the textbook: one parameter at a time, in float64, as the papers write it."""

import numpy as np
import pytest

from mpitrain.arena import Arena, Parameter
from mpitrain.errors import UserError
from mpitrain.layers import init
from mpitrain.optim import LARS, SGD, Adagrad, Adam, AdamW, ArenaShard

SHAPES = {"a": (3, 5), "b": (5,), "c": (150, 301), "d": (301,), "e": (1,), "f": (20_000,)}
NOT_DECAYED = ("b", "e")


def make_arena(dtype=np.float64):
    parameters = {
        name: Parameter(shape, init.normal(1.0), decay=name not in NOT_DECAYED) for name, shape in SHAPES.items()
    }
    return Arena(parameters.items(), dtype=dtype)


def sgd(w, g, slots, t, lr, *, momentum=0.0, nesterov=False):
    v = slots["v"] = momentum * slots.get("v", 0) + lr * g
    return w - (lr * g + momentum * v if nesterov else v)


def adam(w, g, slots, t, lr, *, beta1=0.9, beta2=0.999, eps=1e-8):
    m = slots["m"] = beta1 * slots.get("m", 0) + (1 - beta1) * g
    v = slots["v"] = beta2 * slots.get("v", 0) + (1 - beta2) * g**2
    return w - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)


def adagrad(w, g, slots, t, lr, *, eps=1e-10):
    s = slots["s"] = slots.get("s", 0) + g**2
    return w - lr * g / (np.sqrt(s) + eps)


def l2(rule):
    return lambda w, g, slots, t, lr, decay, **options: rule(w, g + decay * w, slots, t, lr, **options)


def adamw(w, g, slots, t, lr, decay, **options):
    return adam(w - lr * decay * w, g, slots, t, lr, **options)


def lars(w, g, slots, t, lr, decay, *, excluded, momentum=0.9, eta=0.001):
    trust = 1.0 if excluded else eta * np.linalg.norm(w) / (np.linalg.norm(g) + decay * np.linalg.norm(w))
    v = slots["v"] = momentum * slots.get("v", 0) + lr * trust * (g + decay * w)
    return w - v


CASES = {
    "sgd": (SGD, l2(sgd), {}),
    "momentum": (SGD, l2(sgd), {"momentum": 0.9}),
    "nesterov": (SGD, l2(sgd), {"momentum": 0.8, "nesterov": True}),
    "adam": (Adam, l2(adam), {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3}),
    "adamw": (AdamW, adamw, {}),
    "adamw with options": (AdamW, adamw, {"beta1": 0.0, "beta2": 0.5, "eps": 0.1}),
    "lars": (LARS, lars, {"eta": 0.02}),
    "adagrad": (Adagrad, l2(adagrad), {"eps": 1e-3}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("decay_all", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_against_the_textbook(case, weight_decay, decay_all, dtype, tolerance):
    make, rule, options = CASES[case]
    rng = np.random.default_rng(0)
    arena = make_arena(dtype)
    optimizer = make(arena, weight_decay=weight_decay, decay_all=decay_all, **options)
    weights = {p.name: p.data.astype(np.float64) for p in arena.parameters}
    slots = {name: {} for name in weights}
    for t in range(1, 5):
        arena.header[:] = 7
        lr, scale = 0.1 / t, 1 / (10 * t)
        for p in arena.parameters:
            p.grad[...] = rng.standard_normal(p.shape)
            decays = decay_all or p.name not in NOT_DECAYED
            extra = {"excluded": not decays} if make is LARS else {}
            g = scale * p.grad.astype(np.float64)
            weights[p.name] = rule(
                weights[p.name], g, slots[p.name], t, lr, weight_decay if decays else 0.0, **options, **extra
            )
        before = arena.gradients.copy()
        optimizer.step(lr, scale)
        np.testing.assert_array_equal(arena.gradients, before)
    assert optimizer.step_count == 4
    for p in arena.parameters:
        np.testing.assert_allclose(p.data, weights[p.name], rtol=tolerance, atol=tolerance, err_msg=p.name)
    used = np.zeros(arena.size, bool)
    for p in arena.parameters:
        used[p.start : p.stop] = True
    for array in (arena.values, *optimizer.slots.values()):
        np.testing.assert_array_equal(array[~used], 0)
        assert array.dtype == dtype


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("num_sources", [1, 2, 5])
def test_shards_make_the_same_step(case, num_sources):
    """Two ranks, each with its parts and its own slots, do what one does with all."""
    make, _, options = CASES[case]
    arenas = [make_arena() for _ in range(3)]
    a, b = arenas[0].size // 3, arenas[0].size // 2
    parts = [(slice(0, a), slice(b, arenas[0].size)), (slice(a, b),)]
    sources = tuple(np.zeros(arenas[0].size) for _ in range(num_sources))
    squares = np.zeros((len(arenas[0].parameters), 2))  # the same for all

    def sum_over_ranks(array):
        array[...] = squares
        return array

    shards = [None, *(ArenaShard(p, sources, sum_over_ranks) for p in parts)]
    optimizers = [make(arena, weight_decay=0.1, **options) for arena in arenas]
    for t in range(3):
        gradient = np.sin(np.arange(arenas[0].size) + t) * (arenas[0].values != 0)
        arenas[0].gradients[:] = gradient
        for k, source in enumerate(sources):
            source[:] = gradient * (k + 1) * 2 / (num_sources * (num_sources + 1))
        for p in arenas[0].parameters:
            squares[p.index] = np.sum(p.data**2), np.sum(p.grad**2)
        for optimizer, shard in zip(optimizers, shards, strict=True):
            optimizer.step(0.1, 0.5, shard)
        for arena, others in ((arenas[1], parts[1]), (arenas[2], parts[0])):
            for part in others:
                arena.values[part] = arenas[0].values[part]
        for arena in arenas[1:]:
            np.testing.assert_allclose(arena.values, arenas[0].values, rtol=1e-12, atol=1e-14)
    for name, slot in optimizers[0].slots.items():
        for optimizer, mine, others in ((optimizers[1], *parts), (optimizers[2], *parts[::-1])):
            for part in mine:
                np.testing.assert_allclose(optimizer.slots[name][part], slot[part], rtol=1e-12, atol=1e-14)
            for part in others:
                assert not optimizer.slots[name][part].any()


def test_zero_norms_leave_lars_a_trust_of_1():
    arena = make_arena()
    optimizer = LARS(arena, momentum=0.0)
    w = arena.parameters[0]
    w.data[...] = 0
    w.grad[...] = 1
    others = {p.name: p.data.copy() for p in arena.parameters[1:]}
    optimizer.step(0.1)
    np.testing.assert_allclose(w.data, -0.1)
    for p in arena.parameters[1:]:
        np.testing.assert_array_equal(p.data, others[p.name])


def test_only_what_is_needed_is_remembered():
    arena = make_arena()
    assert SGD(arena).slots == {}
    assert list(SGD(arena, momentum=0.9).slots) == ["momentum"]
    assert list(AdamW(arena).slots) == ["m", "v"]
    assert all(slot.shape == (arena.size,) for slot in Adam(arena).slots.values())


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (SGD, {"momentum": 1.0}),
        (SGD, {"nesterov": True}),
        (SGD, {"weight_decay": -1}),
        (SGD, {"weight_decay": float("nan")}),
        (Adam, {"beta2": 1.0}),
        (Adam, {"beta1": -0.1}),
        (Adam, {"eps": float("nan")}),
        (AdamW, {"eps": 0}),
        (LARS, {"momentum": -0.1}),
        (LARS, {"eta": 0}),
        (LARS, {"eta": float("nan")}),
    ],
)
def test_impossible_options(make, options):
    with pytest.raises(UserError):
        make(make_arena(), **options)


@pytest.mark.parametrize("make", [lambda a: SGD(a), lambda a: Adagrad(a), lambda a: Adam(a, lazy=True)])
def test_rows_are_updated_alone(make):
    """The rows that a step meets are updated as a table of their own would be, and others stay as they are."""
    table, small = (Parameter((n, 3), init.normal(1.0)) for n in (20, 4))
    table.by_rows = True
    arena, other = Arena([("t", table), ("d", Parameter((2,), init.zeros))]), Arena([("t", small)])
    optimizer, expected = make(arena), make(other)
    assert optimizer.updates_rows
    numbers = np.array([3, 7, 8, 19])
    small.data[...] = table.data[numbers]
    before = table.data.copy()
    for t in range(3):
        rows = np.random.default_rng(t).standard_normal((4, 3)).astype(np.float32)
        small.grad[...] = rows
        optimizer.step(0.1, 0.5)
        optimizer.update_rows(table, numbers, rows, 0.1, 0.5)
        expected.step(0.1, 0.5)
    np.testing.assert_array_equal(table.data[numbers], small.data)
    rest = np.setdiff1d(np.arange(20), numbers)
    np.testing.assert_array_equal(table.data[rest], before[rest])
    for name, slot in optimizer.slots.items():
        found = slot[table.start : table.stop].reshape(20, 3)
        np.testing.assert_array_equal(found[numbers], expected.slots[name][small.start : small.stop].reshape(4, 3))
        assert not found[rest].any()


def test_rules_that_change_all_rows():
    arena = make_arena()
    for made in (SGD(arena, momentum=0.9), SGD(arena, weight_decay=0.1), Adagrad(arena, weight_decay=0.1), Adam(arena)):
        assert not made.updates_rows
    with pytest.raises(UserError, match="lazy=true leaves most rows"):
        Adam(arena, lazy=True, weight_decay=0.1)


def test_a_rule_of_ones_own_has_no_numbers_and_no_copy():
    """A device would go on with the numbers, and products with the copy, of the rule of the base."""

    class Options(AdamW):
        default_lr = 0.5

    class Update(SGD):
        def update(self, block, lr, scale):
            block.w -= lr * np.sign(block.grad)

    class Adapt(AdamW):
        def adapt(self, block, lr, scale, *, decay=0.0, shrink=0.0):
            block.w -= lr * np.sign(block.grad)

    class Writes(Update):
        writes_copy = True

    made = [kind(Arena([])) for kind in (SGD, Adam, AdamW, LARS, Adagrad, Options, Update, Adapt, Writes)]
    assert [one.is_queued for one in made] == [True] * 6 + [False] * 3
    assert [one.keeps_copy for one in made] == [True] * 6 + [False] * 2 + [True]
