"""The moves by name, and ``FILE.py:CLASS`` for a move or layer of a user's."""

from ...layers.base import Layer
from ...registry import Registry
from .along import AllGather, Gather, ReduceScatter, Split
from .copy_sum import Copy, Sum
from .halo import Halo
from .move import Move
from .turn import RaggedTurn, Turn

BUILT_IN: dict[str, type[Move]] = {
    "copy": Copy,
    "sum": Sum,
    "split": Split,
    "gather": Gather,
    "reduce_scatter": ReduceScatter,
    "all_gather": AllGather,
    "turn": Turn,
    "ragged_turn": RaggedTurn,
    "halo": Halo,
}
MOVES: Registry[Layer] = Registry("move", BUILT_IN, ("group",), Layer)
"""Each is called with a group and returns a layer."""
