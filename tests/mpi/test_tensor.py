"""Linear layers divided by outputs and inputs: forward, dx and dw of the whole layer, on any number of ranks."""

import numpy as np
import pytest

from mpitrain.arena import Arena
from mpitrain.context import Context
from mpitrain.layers import GELU, Linear, Sequential
from mpitrain.parallel.moves.check import check_adjoint
from mpitrain.parallel.moves.exchange import pool_of
from mpitrain.parallel.tensor import ColumnLinear, RowLinear

pytestmark = pytest.mark.mpi


@pytest.fixture
def group(world):
    group = world.group("data")
    yield group
    pool_of(group).free()  # the next test may have other devices


def run(model, x, dy, *, later=False, steps=1):
    """Return y, dx, and values and gradients by name, after some microbatches."""
    arena, ctx = Arena(model, seed=3, dtype=np.float64), Context(dtype=np.float64)
    arena.begin_step(steps)
    for _ in range(steps):
        ctx.later = [] if later else None
        y = model.forward(x, ctx)
        dx = model.backward(dy.copy(), ctx)
        for put_gradient in ctx.later or ():
            put_gradient()
        dx = np.array(dx)
        ctx.later = None
    return np.array(y), dx, {p.name: p for p in arena.parameters}


def assert_parts(parts, whole):
    """Compare values and gradients with those of the whole layers, of the same names."""
    assert list(parts) == list(whole)
    for name, p in parts.items():
        for mine, all_of_it in ((p.data, whole[name].data), (p.grad, whole[name].grad)):
            expected = all_of_it if p.shard is None else p.shard.take(all_of_it)
            np.testing.assert_allclose(mine, expected, 1e-12, 1e-12, err_msg=name)


BLOCKS = {
    "column and row": (
        lambda group, i, h, o: (ColumnLinear(group, i, h), RowLinear(group, h, o)),
        lambda i, h, o: (Linear(i, h), Linear(h, o)),
    ),
    "without bias": (
        lambda group, i, h, o: (ColumnLinear(group, i, h, bias=False), RowLinear(group, h, o, bias=False)),
        lambda i, h, o: (Linear(i, h, bias=False), Linear(h, o, bias=False)),
    ),
    "gathered and split": (
        lambda group, i, h, o: (ColumnLinear(group, i, h, gather=True), RowLinear(group, h, o, split=True)),
        lambda i, h, o: (Linear(i, h), Linear(h, o)),
    ),
}


@pytest.mark.parametrize(
    ("sizes", "later"), [((6, 12, 5), False), ((5, 7, 3), True), ((3, 2, 1), True), ((4, 1, 2), False)]
)
@pytest.mark.parametrize("block", BLOCKS)
def test_the_whole_layers(group, block, sizes, later):
    """Widths that divide and that do not, with fewer columns than ranks; two microbatches."""
    divided, whole = BLOCKS[block]
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 3, sizes[0])), rng.standard_normal((2, 3, sizes[2]))
    first, last = divided(group, *sizes)
    y, dx, parts = run(Sequential(first, GELU(), last), x, dy, later=later, steps=2)
    first, last = whole(*sizes)
    expected = run(Sequential(first, GELU(), last), x, dy, steps=2)
    np.testing.assert_allclose(y, expected[0], 1e-12, 1e-12)
    np.testing.assert_allclose(dx, expected[1], 1e-12, 1e-12)
    assert_parts(parts, expected[2])


def test_no_samples(group):
    model = Sequential(ColumnLinear(group, 4, 6), GELU(), RowLinear(group, 6, 3))
    y, dx, parts = run(model, np.zeros((0, 4)), np.zeros((0, 3)))
    assert (y.shape, dx.shape) == ((0, 3), (0, 4))
    assert not any(p.grad.any() for p in parts.values())


def test_dx_of_the_first_layer_is_neither_computed_nor_sent(group):
    model = Sequential(ColumnLinear(group, 4, 6), GELU(), RowLinear(group, 6, 3))
    model.ask_dx(False)
    copy = model[0].steps[0]
    _, dx, parts = run(model, np.ones((2, 4)), np.ones((2, 3)))
    assert dx.shape[0] == 0
    assert all(p.grad.any() or p.size == 0 for p in parts.values())
    assert copy.exchange.messages == 0


def test_adjoint_of_the_derivative(group):
    """The block takes one array to one array: its derivative is that of the whole, on all ranks."""
    block = Sequential(ColumnLinear(group, 6, 9), GELU(), RowLinear(group, 9, 4))
    block.inputs = block.outputs = "one"
    checked = check_adjoint(block, (3, 6), group)
    assert checked.passed, checked
    block[0].steps[0].start_backward = lambda dy, ctx: lambda: dy  # dx is not summed
    assert check_adjoint(block, (3, 6), group).passed == (group.size == 1)
