"""Moves: communication inside a network as layers with adjoints, around local layers that know nothing of ranks."""

from .along import AllGather, Gather, ReduceScatter, Split
from .copy_sum import Copy, Sum
from .halo import Halo, rows_around, rows_of_windows
from .move import Move
from .turn import RaggedTurn, Turn

__all__ = [
    "AllGather",
    "Copy",
    "Gather",
    "Halo",
    "Move",
    "RaggedTurn",
    "ReduceScatter",
    "Split",
    "Sum",
    "Turn",
    "rows_around",
    "rows_of_windows",
]
