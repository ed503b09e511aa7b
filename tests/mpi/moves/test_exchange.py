"""Messages of moves: kept plans, waits, ranks and shapes that do not fit."""

import re

import numpy as np
import pytest

from mpitrain.comm.world import World
from mpitrain.context import Context
from mpitrain.errors import AgreedError
from mpitrain.parallel.moves import Gather, Halo, RaggedTurn, Split, Turn, exchange
from mpitrain.parallel.moves.cases import CASES
from tests.mpi.moves.cases import make

pytestmark = pytest.mark.mpi


def test_plans_are_kept_and_released(world, group, monkeypatch):
    """More shapes than plans are kept, each used again: the results stay right, and tags are used again."""
    most = 8
    monkeypatch.setattr(exchange, "KEPT_PLANS", most)
    gather, ctx = Gather(group, 0, 2 * group.size), Context(dtype=np.float64)
    used = None
    for _ in range(2):
        for width in range(1, most + 4):
            y = gather.forward(np.full((2, width), 1.0 * world.rank), ctx)
            np.testing.assert_array_equal(y[::2, 0], range(world.size))
        now = group._planner._next_tag
        used = used or now
        assert used == now
    gather.free()
    assert len(group._planner._free_tags) >= most
    sent = gather.exchange.messages
    gather.forward(np.zeros((2, most + 3)), ctx)
    assert gather.exchange.messages - sent == group.size - 1


def test_waits_name_the_move():
    world = World()  # its ledger still has room for names
    group = world.group("data")
    Gather(group, 0, 2 * group.size).forward(np.zeros((2, 3)), Context(dtype=np.float64))
    assert "all_gather/ring of float64 (Gather)" in [e.text for e in world.ledger.mine.entries()][-1]


def test_ranks_that_disagree(world, group):
    if world.size == 1:
        pytest.skip("one rank agrees with itself")
    width = 3 if world.rank == world.size - 1 else 2
    with pytest.raises(AgreedError, match=rf"^Gather: rank 0 begins .*, but rank {world.size - 1} begins all_gather"):
        Gather(group, 0, world.size).forward(np.zeros((1, width)), Context(dtype=np.float64))


@pytest.mark.parametrize("name", CASES)
def test_no_gradient_is_sent_where_none_is_needed(group, name):
    move, shape = make(name, group)
    ctx = Context(dtype=np.float64)
    y = move.forward(np.zeros(shape), ctx)
    move.ask_dx(False)
    sent = move.exchange.messages
    assert move.backward(y.copy(), ctx).shape[:1] == (0,)
    assert move.exchange.messages == sent


@pytest.mark.parametrize(
    ("move", "shape", "message"),
    [
        (lambda group: Split(group, 1, 5), (2, 4), "Split: dimension 1 of (2, 4) must have the length 5"),
        (lambda group: Turn(group, 1, 0, 4, 3 * group.size), (2, 4), "must have the lengths 4 and 3"),
        (lambda group: Halo(group, 0, 3 * group.size), (2, 4), "Halo: dimension 0 of (2, 4) must have the rows"),
        (lambda group: RaggedTurn(group, [1] * group.size), (0, 4), "RaggedTurn: 0 rows, but the counts are"),
        (lambda group: RaggedTurn(group, [-1] * group.size), (0, 4), "are not numbers of rows for"),
    ],
)
def test_shapes_that_do_not_fit(group, move, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        move(group).forward(np.zeros(shape), Context(dtype=np.float64))


def test_lengths_that_do_not_fit(group):
    with pytest.raises(ValueError, match="are not the lengths of the parts of"):
        Split(group, 0, [1] * (group.size + 1))
    with pytest.raises(ValueError, match="are not the rows needed by"):
        Halo(group, 0, 4, rows=[(2, 1)] * group.size)
