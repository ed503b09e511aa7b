"""Pieces of an arena: the spans that are gathered and scattered as one, each for some units of the model.

A unit is a layer of the outermost Sequential, or several small neighbors. All that one layer reads is in the pieces of
its unit. A weight that two units share (a tied table) is a piece of both.

    forward     unit 0 | unit 1 | ... | unit n
    arena       header | piece of unit n | ... | piece of unit 1 | piece of unit 0 || frozen pieces, in the same order
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..arena import HEADER, Arena
from ..collectives.step import chunk_bounds
from ..layers import Layer, Recompute, Sequential
from ..parameter import Parameter

UNIT_BYTES = 8 << 20  # smaller neighbors are one unit: fewer messages, and whole large pages are given back


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of the arena from its first parameter to the next piece, padding included.

    Attributes
    ----------
    start, stop : int
    units : tuple of int
        Numbers of the units that read it, in forward order.
    parameters : tuple of Parameter
    """

    start: int
    stop: int
    units: tuple[int, ...]
    parameters: tuple[Parameter, ...]

    @property
    def trained(self) -> bool:
        """True if the piece holds trained parameters, else frozen ones."""
        return not self.parameters[0].frozen

    def share(self, size: int, rank: int) -> slice:
        """Return the part that ``rank`` keeps."""
        part = chunk_bounds(self.stop - self.start, size, rank)
        return slice(self.start + part.start, self.start + part.stop)


def cut_pieces(model: Layer, arena: Arena, unit_bytes: int = UNIT_BYTES) -> list[Piece]:
    """Return the pieces of ``arena``, which lacks memory perhaps, in its order; together they are all but its header.

    Parameters
    ----------
    model : Layer
        The layers of the arena, prepared.
    unit_bytes : int
        Neighbors join until they have so much.
    """
    units = find_units(model, unit_bytes // arena.dtype.itemsize)
    readers: dict[int, dict[int, None]] = {}  # which keeps the order of the units, each once
    for number, parameters in enumerate(units):
        for p in parameters:
            readers.setdefault(id(p), {})[number] = None
    pieces = []
    for parameters, begin, end in (
        (arena.parameters, HEADER, arena.size),
        (arena.frozen, arena.size, arena.num_values),
    ):
        runs = [(key, tuple(run)) for key, run in groupby(parameters, lambda p: tuple(readers[id(p)]))]
        bounds = [begin, *(run[0].start for _, run in runs[1:]), end]
        pieces += [Piece(a, b, key, run) for (key, run), a, b in zip(runs, bounds, bounds[1:], strict=False)]
    return pieces


def find_units(model: Layer, least: int) -> list[list[Parameter]]:
    """Return the parameters of each unit in forward order, each unit with ``least`` elements or more where that goes.

    A shared parameter is in several, and counts in the first.
    """
    units: list[list[Parameter]] = []
    seen: set[int] = set()
    count = least
    for parameters in _layers(model):
        new = [p for p in parameters if id(p) not in seen]
        seen.update(id(p) for p in new)
        size = sum(p.size for p in new)
        if not parameters:
            continue
        if count + size > 2 * least or count >= least:
            units.append(parameters)
            count = size
        else:
            units[-1] += parameters
            count += size
    return units


def _layers(model: Layer) -> Iterator[list[Parameter]]:
    """Yield the parameters of each layer of the outermost Sequential; those of another model by its children."""
    if isinstance(model, Recompute):
        model = model.layer
    inner: Sequence[Layer] = [layer for _, layer in model.children()]
    if isinstance(model, Sequential):
        inner = [unit.layer for unit in model.units()]
    held: set[int] = set()
    for layer in inner:
        parameters = [p for _, p in layer.named_parameters()]
        held.update(id(p) for p in parameters)
        yield parameters
    yield [p for _, p in model.named_parameters() if id(p) not in held]
