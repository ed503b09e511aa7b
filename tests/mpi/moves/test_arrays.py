"""Moves are equal to NumPy on the arrays of all ranks together, on a device too."""

import numpy as np
import pytest
from mpi4py import MPI

from mpitrain.context import Context
from mpitrain.data.sampler import share
from mpitrain.device import CPU
from mpitrain.parallel.moves import Copy, Gather, Halo, RaggedTurn, Sum, rows_of_windows
from mpitrain.parallel.moves.cases import CASES
from mpitrain.parallel.moves.check import check_adjoint
from mpitrain.parallel.moves.exchange import pool_of
from mpitrain.training.devices import use_device
from tests.kernels import cpu
from tests.mpi.moves.cases import cut, make, reference

pytestmark = pytest.mark.mpi


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CASES)
def test_the_whole_arrays(world, group, name, dtype):
    """Twice, so that plans are used again, with two microbatches in flight."""
    move, shape = make(name, group)
    contexts = [Context(dtype=dtype) for _ in range(2)]
    for step in range(2):
        xs, ys = [], []
        for number, ctx in enumerate(contexts):
            own = 0 if move.inputs == "one" else 1 + world.rank
            xs.append(np.random.default_rng([step, number, own]).standard_normal(shape).astype(dtype))
            ys.append(move.forward(xs[-1].copy(), ctx))
        for number, ctx in enumerate(contexts):
            own = 0 if move.outputs == "one" else 1 + world.rank
            dy = np.random.default_rng([step, number, own, 1]).standard_normal(ys[number].shape).astype(dtype)
            dx = move.backward(dy.copy(), ctx)
            y, expected = reference(move, name, world.all_gather(xs[number]), world.all_gather(dy), world.rank)
            tolerance = 1e-14 if dtype == np.float64 else 1e-5
            assert ys[number].dtype == dx.dtype == dtype
            np.testing.assert_allclose(ys[number], y, tolerance, tolerance)
            np.testing.assert_allclose(dx, expected, tolerance, tolerance)


@pytest.mark.parametrize("window", [(3, 1, 1), (5, 2, 2), (2, 2, 0), (7, 3, 4)])
@pytest.mark.parametrize("length", [2, 5, 17])
def test_rows_of_windows(world, group, window, length):
    """Local sums over windows of the halos are the sums over windows of the whole array."""
    extent, stride, padding = window
    rows = rows_of_windows(length, group.size, *window)
    halo = Halo(group, 0, length, rows=rows)
    whole = np.random.default_rng(0).standard_normal(length)
    x = cut(whole, [a.stop - a.start for a in slices(length, group.size)], 0)[group.rank]
    y = halo.forward(x, Context(dtype=np.float64))
    padded = np.pad(whole, padding)
    outputs = [padded[i : i + extent].sum() for i in range(0, len(padded) - extent + 1, stride)]
    mine = [y[i : i + extent].sum() for i in range(0, len(y) - extent + 1, stride)]
    np.testing.assert_allclose(mine, outputs[slices(len(outputs), group.size)[group.rank]], atol=1e-14)


def slices(length, size):
    return [share(length, rank, size) for rank in range(size)]


@cpu.needs_gxx
@pytest.mark.parametrize("name", CASES)
def test_on_a_device(world, group, device, name):
    """On all ranks or on some: the bits of the CPU, where nothing is summed in another order."""
    found, expected = (run_on(one, world, group, name) for one in (device, CPU))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def run_on(device, world, group, name):
    """Return y and dx of a move on arrays of ``device``."""
    use_device(device, world)
    try:
        move, shape = make(name, group)
        if isinstance(move, Copy | Sum):
            move.algorithm = "ring"
        x = np.random.default_rng(0 if move.inputs == "one" else world.rank).standard_normal(shape)
        ctx = Context(device=device)
        y = move.forward(device.from_host(x.astype(np.float32)), ctx)
        dx = move.backward(device.from_host(2 * device.to_host(y)), ctx)
        return device.to_host(y).copy(), device.to_host(dx).copy()
    finally:
        pool_of(group).free()
        use_device(CPU, world)


def test_routes_that_change(world, group):
    """Other counts in each of two microbatches in flight, and in each step."""
    turn, size = RaggedTurn(group), group.size
    contexts = [Context(dtype=np.float64) for _ in range(2)]
    for step in range(3):
        sent = []
        for number, ctx in enumerate(contexts):
            counts = [(world.rank + step + number * to) % 3 for to in range(size)]
            x = np.repeat(np.arange(size), counts)[:, None] + 100.0 * world.rank  # each row says where it goes
            coming = turn.route(counts, ctx)
            y = turn.forward(x, ctx)
            assert y.shape == (coming, 1)
            np.testing.assert_array_equal(y % 100, world.rank)
            assert (np.diff(y[:, 0]) >= 0).all()
            sent.append((x, y.copy()))
        for (x, y), ctx in zip(sent, contexts, strict=True):
            np.testing.assert_array_equal(turn.backward(y, ctx), x)


def test_on_some_ranks(world):
    """Two groups, the even ranks and the odd ones in descending order, each with rows of its own."""
    half = world.group("tensor", MPI.COMM_WORLD.Split(world.rank % 2, -world.rank))
    ctx = Context(dtype=np.float64)
    y = Gather(half, 0, half.size).forward(np.full((1, 2), 1.0 * world.rank), ctx)
    np.testing.assert_array_equal(y[:, 0], half.world_ranks)
    assert check_adjoint(Halo(half, 1, 3 * half.size, 2, 1), (2, 3 * half.size), half).passed
