"""The command that checks moves, and moves of one's own."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from mpitrain.cli.parallel import check as command
from mpitrain.errors import AgreedError, UserError
from mpitrain.parallel.moves.cases import CASES

pytestmark = pytest.mark.mpi
PAGE = Path(__file__).parents[3] / "docs" / "moves.md"


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
