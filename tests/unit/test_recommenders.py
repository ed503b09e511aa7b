import numpy as np
import pytest

from mpitrain import models
from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.errors import UserError
from mpitrain.layers import (
    DotProduct,
    Embedding,
    Linear,
    NeuralFactorization,
    Sequential,
    SideBySide,
    Tanh,
    UserHistory,
)
from mpitrain.layers.init import FirstRowZero, UniformByCounter
from mpitrain.parameter import Shard
from tests.gradients import check_layer, numeric_gradient

USERS, ITEMS, K = 4, 6, 3


def codes(rng, n, history=1):
    return np.concatenate([rng.integers(0, USERS, (n, 1)), rng.integers(0, ITEMS, (n, history))], axis=1)


def build(name, num_outputs, history=1):
    known = models.Codes(categories=(USERS, *[ITEMS] * history))
    return models.build(name, (1 + history,), num_outputs, codes=known)


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("num_outputs", [1, 2])
@pytest.mark.parametrize("n", [5, 1, 0])
def test_gradients_of_the_dot_product(biases, num_outputs, n):
    layer = DotProduct(3, biases=biases, num_outputs=num_outputs)
    check_layer(layer, np.random.default_rng(n).standard_normal((n, 2 * layer.width)))


@pytest.mark.parametrize("n", [4, 0])
def test_gradients_of_two_networks(n):
    x = np.random.default_rng(n).standard_normal((n, 10))
    first, second = Sequential(Linear(4, 3), Tanh()), Sequential(Linear(6, 2))
    check_layer(SideBySide(first, second, 4), x)
    check_layer(NeuralFactorization(2, Sequential(Linear(6, 3), Tanh(), Linear(3, 4))), x)
    check_layer(NeuralFactorization(0, Sequential(Linear(10, 3))), x)
    check_layer(NeuralFactorization(5, Sequential()), x)


@pytest.mark.parametrize("users", [True, False])
@pytest.mark.parametrize("history", [K, 1, 0])
def test_gradients_of_a_history(users, history):
    x = codes(np.random.default_rng(3), 7, history)
    x[:, 1:2] = 0
    check_layer(UserHistory(Embedding(USERS, 2, 1.0) if users else None, Embedding(ITEMS, 3, 1.0)), x)


def test_a_history_is_a_mean_of_what_is_there():
    items = Embedding(ITEMS, 2)
    layer = UserHistory(None, items)
    Arena(layer.named_parameters())
    y = layer.forward(np.array([[1, 0, 3, 5], [2, 0, 0, 0]]), Context())
    np.testing.assert_allclose(y, [(items.weight.data[3] + items.weight.data[5]) / 2, [0, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "num_outputs", "history"),
    [
        ("mf:factors=3", 1, 1),
        ("mf:factors=3", 2, 1),
        ("mf:factors=3", ITEMS, 0),
        ("mf:factors=3", ITEMS, K),
        ("ncf:factors=3,widths=8+5+4", 1, 1),
        ("ncf:factors=3,widths=8+5+4,dropout=0.3", 2, 1),
        ("ncf:factors=0,widths=8+5", 2, 1),
        ("ncf:factors=3,widths=", 2, 1),
        ("two-tower:size=3,widths=5", 1, 1),
        ("two-tower:size=3,widths=5", 2, 1),
        ("two-tower:size=3,widths=5+4,dropout=0.2", ITEMS, K),
        ("two-tower:size=3,widths=,users=false", ITEMS, 1),
    ],
)
def test_gradients_of_models(name, num_outputs, history):
    model = build(name, num_outputs, history)
    check_layer(model, codes(np.random.default_rng(5), 6, history), places=12, tolerance=1e-5)
    arena = Arena(build(name, num_outputs, history).named_parameters())
    assert all(p.uses >= 1 for p in arena.parameters)


def test_matrix_factorization_by_its_formula():
    model = build("mf:factors=3", 1)
    Arena(model.named_parameters(), seed=1)
    model[1].bias.data[:] = 0.5
    x = codes(np.random.default_rng(1), 8)
    users, items = (table.weight.data for table in model[0].tables)
    p, q = users[x[:, 0]], items[x[:, 1]]
    expected = 0.5 + (p[:, :3] * q[:, :3]).sum(axis=1) + p[:, 3] + q[:, 3]
    np.testing.assert_allclose(model.forward(x, Context())[:, 0], expected, rtol=1e-5)


def test_the_penalty_is_in_proportion_to_the_ratings():
    """Its gradient is that of l2 (|p|^2 + |q|^2), summed over pairs."""
    model, l2 = build("mf:factors=2,l2=0.3", 1), 0.3
    arena = Arena(model.named_parameters(), dtype=np.float64, seed=2)
    x, ctx = np.array([[1, 2], [1, 3], [2, 2]]), Context(dtype=np.float64)

    def objective():
        y = model.forward(x, ctx)
        users, items = (table.weight.data for table in model[0].tables)
        return float((y**2).sum() + l2 * (users[x[:, 0]] ** 2).sum() + l2 * (items[x[:, 1]] ** 2).sum())

    arena.begin_step()
    model.backward(2 * model.forward(x, ctx), ctx)
    for p in arena.parameters:
        places = np.arange(p.data.size)
        np.testing.assert_allclose(p.grad.reshape(-1), numeric_gradient(objective, p.data, places), atol=1e-7)


def test_logits_of_no_and_yes():
    """The first one is 0."""
    layer = DotProduct(2, num_outputs=2)
    Arena(layer.named_parameters())
    y = layer.forward(np.ones((3, 6), np.float32), Context())
    np.testing.assert_array_equal(y, [[0, 4]] * 3)


def test_two_towers_share_the_vectors_of_items():
    model = build("two-tower", ITEMS, K)
    names = [name for name, _ in model.named_parameters()]
    arena = Arena(model.named_parameters())
    assert model[0].items.weight is model[len(model) - 1].weight
    assert len(arena.parameters) == len(names) - 1


@pytest.mark.parametrize(
    ("name", "num_outputs", "history", "message"),
    [
        ("mf", 3, 1, "takes users and items"),
        ("mf", 1, 2, "takes users and items"),
        ("mf:factors=0", 1, 1, "factors of mf must be at least 1"),
        ("mf:l2=-1", 1, 1, "l2 of mf must be 0 or more"),
        ("mf:l2=0.1", ITEMS, 1, "--weight-decay"),
        ("ncf", ITEMS, 1, "negatives=4"),
        ("ncf:widths=7+3", 1, 1, "7 is odd"),
        ("ncf:factors=0,widths=", 1, 1, "needs factors or widths"),
        ("two-tower", ITEMS, 0, "history=10"),
        ("two-tower:users=false", 1, 1, "history=10"),
        ("two-tower:size=0", 1, 1, "size of two-tower must be at least 1"),
    ],
)
def test_refusals(name, num_outputs, history, message):
    with pytest.raises(UserError, match=message):
        build(name, num_outputs, history)


@pytest.mark.parametrize("name", ["mf", "ncf", "two-tower"])
def test_numbers_are_refused(name):
    with pytest.raises(UserError, match="takes users and items"):
        models.build(name, (2,), 1)


@pytest.mark.parametrize(("name", "outputs"), [("mf", 1), ("ncf", 2), ("two-tower", ITEMS), ("mf", ITEMS)])
def test_nobody_begins_as_zero(name, outputs):
    model = build(name, outputs)
    Arena(model.named_parameters(), seed=3)
    tables = [layer.weight.data for layer in model.layers() if isinstance(layer, Embedding)]
    assert tables
    for table in tables:
        assert not table[0].any()
        assert table[1:].all()


@pytest.mark.parametrize("ranges", [((0, 2), (4, 5)), ((1, 3),), ((0, 5),)])
def test_parts_of_a_table_with_a_row_of_zeros(ranges):
    draws, shard = FirstRowZero(UniformByCounter(1.0)), Shard(0, ranges)
    whole = draws(np.random.default_rng(1), (5, 3))
    part = np.empty(shard.shape((5, 3)))
    draws.fill(np.random.default_rng(1), (5, 3), shard, part)
    np.testing.assert_array_equal(part, shard.take(whole))
