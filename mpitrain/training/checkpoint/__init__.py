"""Checkpoints: one file written by all ranks, complete or absent, read again on any number of ranks."""

from .reader import Checkpoint
from .state import Snapshot, State
from .writer import Writer

__all__ = ["Checkpoint", "Snapshot", "State", "Writer"]
