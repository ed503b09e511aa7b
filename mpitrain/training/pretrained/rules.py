"""Tables of an architecture, and the rules for single tensors that a table gives for one model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...errors import UserError
from ...layers import Layer, MultiHeadAttention, Residual, Sequential
from ...layers.lora import ADAPTER
from ...layers.transformer_block import PostNormBlock, PreNormBlock
from ...model_table import ModelTable
from .layouts import LINEAR, SAME, Layout

KINDS = ("weight", "bias", "running_mean", "running_var")  # tensors that a layer of a table stands for


class Line(NamedTuple):
    """A line of a table: our layer or tensor, theirs (several are joined along the outputs), and their layout.

    A layer stands for its tensors: weight, bias, and the running statistics of batch normalization.
    """

    ours: str
    theirs: tuple[str, ...]
    layouts: tuple[Layout, ...]
    is_head: bool = False


def same(ours: str, *theirs: str, head: bool = False) -> Line:
    """Return the line of a layer or a tensor that lies the same way here."""
    return Line(ours, theirs, (SAME,) * len(theirs), head)


def linear(ours: str, *theirs: str, head: bool = False) -> Line:
    """Return the line of Linears, (O, I) there, side by side in one of ours."""
    return Line(ours, theirs, (LINEAR,) * len(theirs), head)


def lying(ours: str, theirs: str, layout: Layout) -> Line:
    """Return the line of a layer or a tensor with a layout of its own."""
    return Line(ours, (theirs,), (layout,))


@dataclass(frozen=True)
class Table:
    """Names of an architecture.

    Attributes
    ----------
    first : sequence of Line
        Of the first layer, whose name ours are without; theirs are whole.
    block : sequence of Line
        Of each block; it may lack some of the layers.
    blocks : str or sequence of str
        Their name of a block, with {} for its number, or their names of all blocks.
    rest : sequence of Line
        One for each other layer with parameters of its own, in order; ours are empty.
    """

    first: Sequence[Line]
    block: Sequence[Line]
    blocks: str | Sequence[str]
    rest: Sequence[Line]

    def block_name(self, number: int) -> str:
        """Return their name of a block."""
        return self.blocks.format(number) if isinstance(self.blocks, str) else self.blocks[number]


class Part(NamedTuple):
    """A tensor of a file, and the number of columns of ours that it is."""

    name: str
    layout: Layout
    width: int


@dataclass(frozen=True)
class Rule:
    """One of our tensors, and those of a file that it is made of, side by side.

    Attributes
    ----------
    is_head : bool
        True if a checkpoint may lack it: then it is drawn new.
    """

    name: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    is_head: bool

    def write(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """Return our tensor as those of a file."""
        stops = np.cumsum([part.width for part in self.parts])[:-1]
        pieces = np.split(array, stops, axis=-1) if len(self.parts) > 1 else [array]
        return {part.name: part.layout.write(piece) for part, piece in zip(self.parts, pieces, strict=True)}

    def read(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Return our tensor, given those of a file."""
        pieces = [part.layout.read(array) for part, array in zip(self.parts, arrays, strict=True)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=-1)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes that the tensors of a file must have; needs no memory."""
        nothing = np.broadcast_to(np.float32(0), self.shape)
        return {name: array.shape for name, array in self.write(nothing).items()}


def rules_of(table: Table, model: Sequential) -> list[Rule]:
    """Return the rules for the tensors of ``model``, one each, in forward order; adapters are left out.

    Raises
    ------
    UserError
        If it is not built as our model of that kind: it may be a network of the user's own.
    """
    shapes = {entry.name: entry.shape for entry in ModelTable.of(model) if not ADAPTER.search(entry.name)}
    blocks, others = block_names(model), list[str]()
    found = [rule for line in table.first for rule in _expand("0.", "", line, shapes, model)]
    for name, layer in model.children():
        if name in blocks:
            there = table.block_name(blocks.index(name)) + "."
            found += [rule for line in table.block for rule in _expand(f"{name}.", there, line, shapes, layer)]
        elif name != "0" and any(key.startswith(f"{name}.") for key in shapes):
            others.append(name)
    for name, line in zip(others, table.rest):
        found += _expand(name, "", line, shapes, model)
    if {rule.name for rule in found} != set(shapes) or len(others) != len(table.rest):
        raise UserError(f"the model is built in another way than the one that has {table.block_name(0)}")
    return found


def block_names(model: Sequential) -> list[str]:
    """Return the names of the blocks of a transformer, or of a residual network."""
    return [name for name, layer in model.children() if isinstance(layer, PreNormBlock | PostNormBlock | Residual)]


def _expand(here: str, there: str, line: Line, shapes: dict[str, tuple[int, ...]], layer: Layer) -> Iterator[Rule]:
    """Yield the rule of a tensor, or those of the tensors of a layer."""
    ours = here + line.ours
    if ours in shapes:
        yield _rule(ours, [there + name for name in line.theirs], line, shapes[ours], layer)
        return
    for kind in KINDS:
        if f"{ours}.{kind}" in shapes:
            names = [f"{there}{name}.{kind}" for name in line.theirs]
            yield _rule(f"{ours}.{kind}", names, line, shapes[f"{ours}.{kind}"], layer)


def _rule(ours: str, theirs: list[str], line: Line, shape: tuple[int, ...], layer: Layer) -> Rule:
    widths = [shape[-1] // len(theirs)] * len(theirs)
    if line.ours == "attention.qkv" and len(theirs) == 3:
        attention = vars(layer)["attention"]
        assert isinstance(attention, MultiHeadAttention)
        keys = attention.num_kv_heads * attention.head_size
        widths = [attention.size, keys, keys]
    parts = (Part(*each) for each in zip(theirs, line.layouts, widths, strict=True))
    return Rule(ours, shape, tuple(parts), line.is_head)
