"""A model as its units, each with the numbers that time and memory follow from, for one sample.

A unit is a layer or a block between which a pipeline may cut. Numbers are those of the whole unit; the axes that divide
it are left to ``compute`` and ``memory``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

Cut = Literal["", "outputs", "inputs", "heads"]


@dataclass(frozen=True)
class Product:
    """Matrix products y (rows, outputs) = x (rows, inputs) w, ``count`` of them side by side.

    Attributes
    ----------
    rows, inputs, outputs : float
        For one sample.
    count : float
        The heads of attention.
    cut : {"", "outputs", "inputs", "heads"}
        Dimension that ranks on axis tensor divide: of a column, of a row, ``count``; "" for none.
    """

    rows: float
    inputs: float
    outputs: float
    count: float = 1.0
    cut: Cut = ""

    @property
    def flops(self) -> float:
        """Operations of forward, where a multiplication and an addition are two."""
        return 2.0 * self.rows * self.inputs * self.outputs * self.count


@dataclass(frozen=True)
class Unit:
    """One unit. Numbers of elements are for one sample; those of ``..._cut`` are divided by axis tensor.

    Attributes
    ----------
    name, kind : str
    products : tuple of Product
        Of forward; backward has two for each.
    traffic, traffic_cut : float
        Elements that forward reads and writes outside of the products.
    kept, kept_cut : float
        Elements that forward keeps for backward.
    in_turn, in_turn_cut : float
        Elements of memory that units use one after the other, in the moment that needs most.
    output : float
        Elements of the output.
    parameters, parameters_cut, parameters_expert, parameters_rows : float
        Parameters of all ranks, those divided by axis tensor, by axes tensor and expert, and by axis expert alone (the
        rows of large tables).
    tables : float
        Parameters, contained in these, of which forward reads few rows (embeddings).
    sums, sums_back : int
        Sums over axis tensor in forward and in backward, of
    summed : float
        elements each.
    turned : float
        Elements that turn from tokens to heads and back in forward (axis context).
    halos : tuple of float
        Elements that each convolution or pool gets from each neighbor (axis space).
    routed : float
        Elements that go to the ranks of their experts in forward, and as many back.
    statistics : int
        Small sums over all ranks that have samples or parts of them, in forward and as many in backward (batch norms).
    heads, experts, length, height : int
        Bounds of axes tensor and context, expert, context, space; 0 if the unit has no such thing.
    width : int
        Bound of axis tensor without heads: outputs of its products.
    num_ops : int
        Calls of forward, each of which takes a time of its own.
    is_block : bool
        True if its insides may be computed again.
    chunk_bytes, chunk_limit : float
        Memory in bytes for each sample, up to a limit (logits in chunks).
    shared : str
        Name of the unit before whose parameters, ``shared_parameters`` of them, this one has, too.
    """

    name: str
    kind: str = "unit"
    products: tuple[Product, ...] = ()
    traffic: float = 0.0
    traffic_cut: float = 0.0
    kept: float = 0.0
    kept_cut: float = 0.0
    in_turn: float = 0.0
    in_turn_cut: float = 0.0
    output: float = 0.0
    parameters: float = 0.0
    parameters_cut: float = 0.0
    parameters_expert: float = 0.0
    parameters_rows: float = 0.0
    tables: float = 0.0
    sums: int = 0
    sums_back: int = 0
    summed: float = 0.0
    turned: float = 0.0
    halos: tuple[float, ...] = ()
    routed: float = 0.0
    statistics: int = 0
    heads: int = 0
    experts: int = 0
    length: int = 0
    height: int = 0
    width: int = 0
    num_ops: int = 1
    is_block: bool = False
    chunk_bytes: float = 0.0
    chunk_limit: float = 0.0
    shared: str = ""
    shared_parameters: float = 0.0

    @property
    def whole_parameters(self) -> float:
        """All of its parameters."""
        return self.parameters + self.parameters_cut + self.parameters_expert + self.parameters_rows

    @property
    def flops(self) -> float:
        """Operations of the products of forward."""
        return sum(product.flops for product in self.products)


@dataclass(frozen=True)
class Model:
    """A model.

    Attributes
    ----------
    name : str
    units : tuple of Unit
    tokens : int
        Tokens of a sample; 0 for samples of another kind.
    sample : float
        Elements of a sample.
    """

    name: str
    units: tuple[Unit, ...]
    tokens: int = 0
    sample: float = 0.0

    @cached_property
    def parameters(self) -> float:
        """Number of all parameters."""
        return sum(unit.whole_parameters for unit in self.units)

    @cached_property
    def flops(self) -> float:
        """Operations of the products of forward and backward of a sample, without repeated ones."""
        return 3.0 * sum(unit.flops for unit in self.units)

    @cached_property
    def kinds(self) -> tuple[Unit, ...]:
        """Units that differ in more than their names."""
        return tuple(dict.fromkeys(map(unnamed, self.units)))

    @cached_property
    def kind_of(self) -> tuple[int, ...]:
        """Place of each unit in ``kinds``."""
        places = {kind: place for place, kind in enumerate(self.kinds)}
        return tuple(places[unnamed(unit)] for unit in self.units)

    def most(self, axis: str) -> int:
        """Return the most ranks that an axis can have, by the units; 1 where it has nothing to divide."""
        bounds = [_bound(axis, unit) for unit in self.units]
        return max(1, min((bound for bound in bounds if bound), default=1))

    def divides(self, axis: str, size: int) -> bool:
        """Return whether ``size`` ranks on an axis get equal parts."""
        names = {"tensor": "heads", "expert": "experts", "context": "length"}
        if axis not in names:
            return True
        return all(value % size == 0 for unit in self.units if (value := getattr(unit, names[axis])))


def unnamed(unit: Unit) -> Unit:
    """Return a unit without its name."""
    return replace(unit, name="")


def _bound(axis: str, unit: Unit) -> int:
    """Return the most ranks of an axis among which a unit can be divided; 0 if it does not care."""
    if axis == "tensor":
        return unit.heads or unit.width
    if axis == "context":
        return unit.length
    if axis == "expert":
        return unit.experts
    return unit.height if axis == "space" else 0


def tokens_of(units: Sequence[Unit]) -> int:
    """Return the tokens of a sample."""
    return max((unit.length for unit in units), default=0)
