"""Moves: adjoint to rounding, and equal to NumPy on the arrays of all ranks together."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from mpitrain.cli.parallel import check as command
from mpitrain.comm.world import World
from mpitrain.context import Context
from mpitrain.data.sampler import share
from mpitrain.device import CPU
from mpitrain.errors import AgreedError, UserError
from mpitrain.layers import GELU, Linear, Sequential
from mpitrain.parallel.moves import (
    AllGather,
    Copy,
    Gather,
    Halo,
    RaggedTurn,
    ReduceScatter,
    Split,
    Sum,
    Turn,
    exchange,
    rows_of_windows,
)
from mpitrain.parallel.moves.cases import CASES, cases_of
from mpitrain.parallel.moves.check import check_adjoint
from mpitrain.parallel.moves.exchange import pool_of
from mpitrain.training.devices import use_device
from tests.kernels import cpu

pytestmark = pytest.mark.mpi

PAGE = Path(__file__).parents[2] / "docs" / "moves.md"


@pytest.fixture
def group(world):
    group = world.group("data")
    yield group
    pool_of(group).free()  # the next test may have other devices


@pytest.mark.parametrize("name", CASES)
def test_adjoint(group, name):
    few = group.size > 4  # ranks that share cores take long
    for seed in range(1 if few else 2):
        for case in cases_of(name, group, seed)[:: 2 if few else 1]:
            checked = check_adjoint(case.layer, case.shape, group, seed=seed)
            assert checked.passed, (case.name, case.shape, checked)
            assert checked.error < 1e-13


def lengths_of(size):
    """Lengths of parts that differ, one of them 0."""
    return [(2 * rank + 1) % 4 if rank != 1 else 0 for rank in range(size)]


def cut(whole, lengths, dim):
    return np.split(whole, np.cumsum(lengths)[:-1], dim)


def reference(move, name, xs, dys, rank):
    """Return y and dx of ``rank`` from the x and dy of all ranks."""
    join = np.concatenate
    if name == "halo":
        first = -min(0, *(first for first, _ in move._rows[1]))
        beyond = max(stop for _, stop in move._rows[1])
        whole = join(xs, 1)
        padded = np.pad(whole, [(0, 0), (first, max(0, beyond - whole.shape[1])), (0, 0)])
        y = padded[:, first + move._need[0] : first + move._need[1]]
        gradient = np.zeros_like(padded)
        for (start, stop), dy in zip(move._rows[1], dys, strict=True):
            gradient[:, first + start : first + stop] += dy
        return y, gradient[:, first + move._own[0] : first + move._own[1]]
    if name == "ragged_turn":
        table = [counts_of(source, len(xs)) for source in range(len(xs))]
        y = join([cut(x, table[s], 0)[rank] for s, x in enumerate(xs)])
        back = [cut(dy, [row[d] for row in table], 0)[rank] for d, dy in enumerate(dys)]
        return y, join(back)
    if name == "turn":
        c, j = lengths_of(len(xs)), [3] * len(xs)
        return cut(join(xs, 1), c, 0)[rank], cut(join(dys, 0), j, 1)[rank]
    lengths = lengths_of(len(xs))
    return {
        "copy": lambda: (xs[rank], sum(dys)),
        "sum": lambda: (sum(xs), dys[rank]),
        "split": lambda: (cut(xs[rank], lengths, 1)[rank], join(dys, 1)),
        "gather": lambda: (join(xs, 1), cut(dys[rank], lengths, 1)[rank]),
        "reduce_scatter": lambda: (cut(sum(xs), lengths, 1)[rank], join(dys, 1)),
        "all_gather": lambda: (join(xs, 1), cut(sum(dys), lengths, 1)[rank]),
    }[name]()


def counts_of(rank, size):
    return [(rank + 2 * to) % 3 for to in range(size)]


def make(name, group):
    """Return a move, and the shape of this rank's x."""
    size, lengths = group.size, lengths_of(group.size)
    total = sum(lengths)
    along = {"split": Split, "gather": Gather, "reduce_scatter": ReduceScatter, "all_gather": AllGather}
    if name in along:
        move = along[name](group, 1, lengths)
        return move, move.input_shape((3, total, 2))
    if name == "turn":
        return (move := Turn(group, 0, 1, lengths, 3 * size)), move.input_shape((total, 3 * size, 2))
    if name == "ragged_turn":
        return (move := RaggedTurn(group, counts_of(group.rank, size))), move.input_shape((0, 4))
    if name == "halo":
        return (move := Halo(group, 1, lengths, 2, 3)), move.input_shape((2, total, 3))
    return {"copy": Copy, "sum": Sum}[name](group), (5, 3)


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


class Forgetful(Copy):
    """A copy that sums nothing."""

    def backward(self, dy, ctx):
        return dy


class Mean(Sum):
    """A sum whose backward divides."""

    def backward(self, dy, ctx):
        return dy / self.group.size


class OwnPart(AllGather):
    """An all-gather with the backward of Gather."""

    def backward(self, dy, ctx):
        return self._own(dy, ctx.backward, "dx")


class NoEdges(Halo):
    """A halo whose backward leaves out what other ranks have."""

    def backward(self, dy, ctx):
        first = self._own[0] - self._need[0]
        return dy[:, first : first + self._own[1] - self._own[0]]


class RanksDiffer(Gather):
    """A gather that is right on rank 0 only."""

    def forward(self, x, ctx):
        return super().forward(x, ctx) * (1 if self.group.rank == 0 else 1 + 1e-9)


@pytest.mark.parametrize(
    ("make_wrong", "why"),
    [
        (Forgetful, "dx must be the same on all ranks"),
        (Mean, "<F x, dy> and <x, F* dy> differ"),
        (lambda group: OwnPart(group, 1, 3 * group.size), "<F x, dy> and <x, F* dy> differ"),
        (lambda group: NoEdges(group, 1, 3 * group.size), "<F x, dy> and <x, F* dy> differ"),
        (lambda group: RanksDiffer(group, 1, 3 * group.size), "y must be the same on all ranks"),
    ],
)
def test_wrong_moves_are_found(group, make_wrong, why):
    checked = check_adjoint(make_wrong(group), (4, 3 * group.size, 2), group)
    assert checked.passed == (group.size == 1)
    if group.size > 1:
        assert why in checked.why


def test_layers_that_are_not_linear(group):
    def local(*middle):
        return Sequential(Linear(6, 4), *middle, Linear(4, 2))

    assert check_adjoint(local(GELU()), (3, 6), group).passed
    checked = check_adjoint(local(Twice()), (3, 6), group)
    assert checked.why.startswith("<F x, dy> and <x, F* dy> differ by ")


class Twice(GELU):
    def backward(self, dy, ctx):
        return 2 * super().backward(dy, ctx)


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


def options_of(**given):
    return dataclasses.replace(command.CheckOptions(), **given)


def test_the_command(world, capsys):
    names = tuple(CASES) if world.size < 4 else ("copy", "turn")  # ranks that share cores take long
    assert command.run(options_of(moves=() if world.size < 4 else names), world) == 0
    out = capsys.readouterr().out
    if world.rank == 0:
        lines = out.splitlines()
        assert [line.split()[0] for line in lines[2 : 2 + len(names)]] == list(names)
        assert ("one rank has nothing to communicate" in out) == (world.size == 1)
    assert command.run(options_of(moves=("ragged_turn",), cases=True), world) == 0
    if world.rank == 0:
        assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith("ragged_turn ")]) == 4


MINE = """
from mpitrain.layers import Linear
from mpitrain.parallel.moves import Gather, Move, Sum

class Right(Gather):
    def __init__(self, group, dim: int = 0):
        super().__init__(group, dim, 3 * group.size)

class Wrong(Sum):
    def backward(self, dy, ctx):
        return dy / self.group.size

class Odd(Move):
    inputs = "all"
    forward = backward = lambda self, x, ctx: x

class Shorter(Move):
    forward = lambda self, x, ctx: x
    backward = lambda self, dy, ctx: dy[1:]

class Fails(Move):
    def forward(self, x, ctx):
        raise ValueError("no")

    def backward(self, dy, ctx):
        return dy

def layer(group, outputs: int = 3):
    return Linear(6, outputs)

class Nothing(Move):
    forward = backward = lambda self, x, ctx: None

class Single(Move):
    forward = backward = lambda self, x, ctx: x.astype("float32")

class NoShape(Nothing):
    input_shape = lambda self, whole: 4
"""


@pytest.fixture
def mine(world, directory):
    if world.rank == 0:
        (directory / "mine.py").write_text(MINE)
    world.barrier()
    return f"{directory}/mine.py:"


@pytest.mark.parametrize("name", ["Right", "Right:dim=1", "layer:outputs=4"])
def test_a_class_of_one_s_own(world, mine, name, capsys):
    size = 3 * world.size
    shape = "5x6" if "layer" in name else f"5x{size}" if "dim" in name else f"{size}x5"
    assert command.run(options_of(moves=(mine + name,), shape=shape), world) == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Odd", "mine.py:Odd: inputs and outputs are ('all', 'parts'), but must be one or parts"),
        ("Shorter", "mine.py:Shorter: x is (4, 6), but backward returns (3, 6)"),
        ("Fails", "forward of .*mine.py:Fails failed: ValueError: no (line 23)"),
        ("Absent", "mine.py has no function 'Absent'"),
        ("Nothing", "mine.py:Nothing returned NoneType, not an array of float64"),
        ("Single", "mine.py:Single returned float32, not an array of float64"),
        ("NoShape", "mine.py:NoShape returned 4, which is no shape"),
        ("layer:inputs=3", "has no option 'inputs'"),
    ],
)
def test_mistakes_in_a_class_of_one_s_own(world, mine, name, message):
    with pytest.raises(UserError) as error:
        command.run(options_of(moves=(mine + name,)), world)
    assert message.split(".*")[-1] in str(error.value)


def test_a_wrong_class_of_one_s_own(world, mine):
    if world.size == 1:
        pytest.skip("a mean over one rank is its sum")
    with pytest.raises(AgreedError, match=r"mine.py:Wrong is wrong: <F x, dy> and <x, F\* dy> differ by ") as error:
        command.run(options_of(moves=("copy", mine + "Wrong")), world)
    assert error.value.code == 2


def test_names_that_there_are_not(world):
    with pytest.raises(UserError, match="there is no move 'gahter'; did you mean 'gather'"):
        command.run(options_of(moves=("gahter",)), world)


def test_the_move_of_the_page(world, directory):
    """The code of docs/moves.md."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    names = {}
    exec(blocks[0], names)
    whole = np.concatenate(world.all_gather(names["x"]), -1)
    assert whole.shape == (3, 10)
    np.testing.assert_array_equal(names["y"], whole)
    np.testing.assert_array_equal(names["dx"], 2 * names["x"])
    if world.rank == 0:
        (directory / "page.py").write_text(blocks[1])
    world.barrier()
    assert command.run(options_of(moves=(f"{directory}/page.py:Shift:by=2",)), world) == 0


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
